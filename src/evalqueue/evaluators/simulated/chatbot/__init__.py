"""A simulated Kaira chatbot on loopback, with weaknesses to switch on."""
