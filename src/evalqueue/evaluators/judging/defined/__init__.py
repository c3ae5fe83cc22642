"""Evaluators that are made from definitions."""
