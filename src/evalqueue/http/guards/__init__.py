"""Middleware that refuses requests: unknown callers, foreign origins, large bodies, high rates."""
