"""The JSON of figures: what a run comes to, row by row and in sum. Null is "not measured"."""
