"""From a file's bytes to text and rows: compression, encodings, CSV."""
