"""Simulated difficult users, as the simulated vendor plays them."""
