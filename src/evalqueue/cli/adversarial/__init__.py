"""Declares the commands about adversarial tests and their saved cases."""
