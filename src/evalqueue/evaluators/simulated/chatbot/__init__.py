"""A simulated Kaira chatbot on loopback, with configurable weaknesses."""
