"""Evaluators as data: what is asked about a conversation, and what can be answered."""
