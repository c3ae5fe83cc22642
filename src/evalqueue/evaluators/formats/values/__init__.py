"""What a file's headers and values mean."""
