"""Claims beside a large backlog."""

from evalqueue.postgres.database import Database

OWNERS, JOBS = 200, 20_000


async def test_a_claim_does_not_read_a_backlog_that_is_newer_than_the_statistics(
    database: Database,
):
    async with database.transaction() as connection:
        await connection.execute("SET LOCAL session_replication_role = replica")  # no triggers
        await connection.execute("""
            INSERT INTO jobs (job_type, status, attempt, result, started_at, completed_at)
            SELECT 'noop', 'completed', 1, '{}', now(), now() FROM generate_series(1, 2000)""")
        await connection.execute("ANALYZE jobs")
        await connection.execute(
            "INSERT INTO jobs (job_type, owner, task_id) SELECT 'later', 'owner-' || n %% %s, n"
            " FROM generate_series(1, %s) AS n",
            [OWNERS, JOBS],
        )
        # Reading and sorting them for each owner takes ten seconds.
        await connection.execute("SET LOCAL statement_timeout = '3s'")
        for job_type, claimable in (("noop", 0), ("later", 20)):
            cursor = await connection.execute(
                "SELECT count(*) FROM evalqueue_next_jobs('worker', NULL, %s, 20)", [[job_type]]
            )
            assert await cursor.fetchone() == (claimable,)
