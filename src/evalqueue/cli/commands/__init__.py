"""What the commands do, as coroutines that return an exit code."""
