"""Everything that talks to Postgres: connections, notifications, the schema, rows in and out."""
