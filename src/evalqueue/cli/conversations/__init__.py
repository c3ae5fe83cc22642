"""Declares the commands about conversations: stored ones, and databases that they come from."""
