"""The JSON of labels: those that people give, what they come to, and queues to be labelled."""
