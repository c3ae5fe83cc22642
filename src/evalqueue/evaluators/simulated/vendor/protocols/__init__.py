"""The HTTP protocols of the vendors."""
