"""The stress test: difficult users are made up, talk to the real bot, and what happened is judged.

Cases say who the user is and what they want; the simulator plays them; the dialogue is what was
said; the adjudication is what a judge thinks of it. None of these rooms knows a queue or a
database.
"""
