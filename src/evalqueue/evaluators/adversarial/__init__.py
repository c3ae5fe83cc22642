"""Adversarial tests: simulated difficult users talk to a chatbot, and a judge decides how it did.

Cases describe the users, `simulated_user` plays them, `dialogue` holds the conversation, and
`adjudication` judges it. These modules know neither queue nor database.
"""
