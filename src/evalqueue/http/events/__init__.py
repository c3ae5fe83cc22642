"""Server-sent events: each change is read and encoded once, and sent to every watcher."""
