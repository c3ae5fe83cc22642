"""The evaluators that come with the product, and what they share."""
