"""The JSON of requests and responses, as pydantic models.

A model that has the same name as a class of the layers below carries the suffix `Json`: `Job` is
the job as the queue knows it, `JobJson` its JSON. The OpenAPI document leaves the suffix out.
"""
