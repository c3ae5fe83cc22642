"""Fault injection on real processes: a Postgres that stops, a network that drops or delays bytes,
workers that are killed, and a checker of the tables afterwards. The product contains no hooks for
it.
"""
