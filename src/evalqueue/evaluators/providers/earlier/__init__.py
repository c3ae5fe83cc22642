"""Answers that were given earlier: to this run, or to earlier runs of the same owner."""
