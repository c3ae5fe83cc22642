"""Runs: their rows, their call logs and their summary."""
