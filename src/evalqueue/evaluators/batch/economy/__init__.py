"""Economy mode: the questions of a run are asked by a vendor's batches, at half the price.

An attempt visits every conversation and queues each question that is not answered yet. Then it
submits the questions as batches and gives its slot back. Later attempts look at the batches; when
they are over, their answers are recorded as calls, and the conversations are visited again.
"""
