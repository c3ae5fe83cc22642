"""Prometheus metrics: their registry, a worker's endpoint, and what concerns jobs and processes.

Each process, and each worker in it, has its own `Metrics`: there is no global state. What happens
only in evaluations or in the API is defined there.
"""
