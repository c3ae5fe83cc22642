"""The commands about conversations: datasets, and the databases that they are read from."""
