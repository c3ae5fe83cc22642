"""The street: the HTTP API. It says in JSON what `Client` and the runs' store say in Python.

`app.create_app(client)` is the ASGI application, `serve.serve(client)` a server for it. Operations
are declared once (`operations.Operation`): routes, validation, replies and `/openapi.json` all
come from that declaration, so that the document can't be untrue.
"""
