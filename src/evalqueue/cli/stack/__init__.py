"""The processes of `up` and `demo`: Postgres, simulators, API and worker."""
