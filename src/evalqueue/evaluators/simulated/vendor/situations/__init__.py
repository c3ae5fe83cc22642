"""Answers and errors as vendors, gateways and local servers were reported to give them.

The model `situation-NAME` meets one of them with every request. Each is a conformance test of the
providers, in `tests/providers/test_situations.py`.
"""
