"""Two runs compared by the conversations that both have, and gates that decide on it."""
