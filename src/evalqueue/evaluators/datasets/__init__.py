"""Datasets: conversations stored once and read one at a time."""
