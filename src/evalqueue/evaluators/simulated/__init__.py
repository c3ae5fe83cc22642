"""The simulated world: difficult users, a bot with weaknesses to switch on, and a judge.

They act by fixed rules and understand one another, so that a stress test can be tried and proved
without a key and without a bot. The judge reads what was said, as any judge does; which weaknesses
are on it can't know. How they are reached over HTTP is `llm.simulated`'s and `chatbot.simulated`'s
business.
"""
