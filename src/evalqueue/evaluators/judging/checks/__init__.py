"""What a program can check by itself: the figures of an answer, and the checks of an app."""
