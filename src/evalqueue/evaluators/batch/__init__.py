"""The job type `evaluate-batch`: conversations of a dataset, judged by evaluators."""
