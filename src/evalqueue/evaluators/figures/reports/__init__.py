"""Reports of runs: one HTML file of what a run has found, and links that show it to others."""
