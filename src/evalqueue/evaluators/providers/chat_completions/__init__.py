"""The chat-completions protocol: what requests contain, how responses and errors are read."""
