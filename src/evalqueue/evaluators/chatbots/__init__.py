"""The system under test, behind a protocol: what is said to it, and what comes back.

Its rooms know neither cases nor judges. A chatbot that can't be reached, breaks off or talks
nonsense is a `ChatbotError`, which is a fact about the line and never a verdict on the bot.
"""
