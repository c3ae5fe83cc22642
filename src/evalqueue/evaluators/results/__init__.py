"""The conversations of a run as people read them: the worst first, or all of them in a file."""
