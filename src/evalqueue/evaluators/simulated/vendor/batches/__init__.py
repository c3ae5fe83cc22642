"""Batches of the simulated vendor: questions that are answered some time later."""
