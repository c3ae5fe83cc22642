"""The commands about apps: their files, and what is stored."""
