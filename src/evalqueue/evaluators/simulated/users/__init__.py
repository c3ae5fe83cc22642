"""Simulated difficult users: what the simulated vendor answers in the role of a user."""
