"""Calls to LLM vendors: a request gives a completion with its usage, or a classified error."""
