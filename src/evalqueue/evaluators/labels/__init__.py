"""What people say about conversations, and how often a judge is wrong by it."""
