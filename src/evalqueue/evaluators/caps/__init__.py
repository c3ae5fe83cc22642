"""Caps on dollars and tokens, of a job and of an owner's month, which are never exceeded."""
