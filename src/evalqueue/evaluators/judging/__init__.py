"""Judging one conversation: the judge, what it is asked, what it answers, and the evaluators."""
