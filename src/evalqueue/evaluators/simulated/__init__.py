"""Simulated difficult users, a simulated bot with configurable weaknesses, and a simulated judge.

They follow fixed rules, so an adversarial test can run without an API key and without a real bot.
The judge reads the transcript only; it does not know which weaknesses are enabled. Their HTTP
servers are in `simulated.vendor` and `simulated.chatbot`.
"""
