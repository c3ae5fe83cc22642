"""The pace of LLM calls: one per credential, shared by all jobs and workers through Postgres."""
