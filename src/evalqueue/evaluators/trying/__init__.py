"""Evaluators tried on a few conversations before anything is saved."""
