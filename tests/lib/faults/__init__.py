"""Parts to break things with, on real processes: a Postgres that stops, a network that lies,
workers that are killed, and a checker that says what is left unsound. The product knows nothing of
them.
"""
