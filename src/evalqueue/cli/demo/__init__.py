"""The demos: one job run by all parts of the product, and what it found."""
