"""The commands about runs, and how jobs and runs are named on the command line."""
