"""The system under test, behind a protocol: messages and answers.

Modules of this package import neither cases nor judges. When a chatbot can't be reached, breaks off
or violates its protocol, the error is a `ChatbotError`: a fact about the connection, never a
verdict on the bot.
"""
