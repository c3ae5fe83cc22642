"""Calling LLM vendors: a request in; a completion with its usage out, or a named reason why not."""
