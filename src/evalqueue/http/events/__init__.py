"""Server-sent events: what changed, read once and sent to every client."""
