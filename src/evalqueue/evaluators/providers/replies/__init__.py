"""What vendors say about themselves: their errors, delays and limits."""
