"""Claims beside a large backlog."""

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from evalqueue.postgres.database import Connection, Database

OWNERS, JOBS = 200, 20_000
ENDED = 2000


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


# The arguments: a job that runs, all that run, and one that waits.
STEPS = {
    "submit one": "SELECT evalqueue_submit_job('noop')",
    "submit one with a key": "SELECT evalqueue_submit_job('noop', idempotency_key => "
    "gen_random_uuid()::text)",
    "submit many": """SELECT count(*) FROM evalqueue_submit_jobs(
        (SELECT jsonb_agg(jsonb_build_object('job_type', 'noop')) FROM generate_series(1, 20)))""",
    "submit many with keys": """SELECT count(*) FROM evalqueue_submit_jobs((
        SELECT jsonb_agg(jsonb_build_object(
            'job_type', 'noop', 'idempotency_key', gen_random_uuid()))
        FROM generate_series(1, 20)))""",
    "submit many after another": """SELECT count(*) FROM evalqueue_submit_jobs((
        SELECT jsonb_agg(jsonb_build_object('job_type', 'noop', 'after', %(waiting)s))
        FROM generate_series(1, 20)))""",
    "claim": """SELECT count(*) FROM evalqueue_claim_jobs(
        NULL, 'worker', NULL, ARRAY['noop'], 8, 30)""",
    "hold": "SELECT evalqueue_hold_job(%(running)s, 1)",
    "flush one": "SELECT evalqueue_flush_job(%(running)s, 1, '{\"current\": 1}', 30)",
    "flush many": "SELECT count(*) FROM evalqueue_flush_jobs(%(all)s, 30)",
    "retry": "SELECT evalqueue_finish_job(%(running)s, 1, 'retry', error => 'once more')",
    "release": "SELECT evalqueue_finish_job(%(running)s, 1, 'released')",
    "finish one": "SELECT evalqueue_finish_job(%(running)s, 1, 'completed', '{}')",
    "cancel one that runs": "SELECT evalqueue_cancel_job(%(running)s)",
    "finish many": "SELECT count(*) FROM evalqueue_finish_jobs(%(all)s)",
    "cancel one that waits": "SELECT evalqueue_cancel_job(%(waiting)s)",
    "delete a task": "DELETE FROM procrastinate_jobs WHERE id = %(task)s",
}
ARGUMENTS = """
    SELECT (SELECT id FROM jobs WHERE worker = 'worker' AND status = 'running' LIMIT 1) AS running,
        (SELECT jsonb_agg(jsonb_build_object(
            'job_id', id, 'attempt', attempt, 'result', '{"a": 1}'::jsonb))
            FROM jobs WHERE status = 'running') AS all,
        (SELECT id FROM jobs WHERE status = 'queued' AND attempt = 0 LIMIT 1) AS waiting,
        (SELECT max(task_id) FROM jobs WHERE status = 'queued' AND attempt = 0) AS task"""


async def test_no_step_of_a_job_reads_a_whole_table_that_was_small_when_it_was_planned(
    database: Database,
):
    """A session keeps its plans, and statistics are a minute old: tables may grow in between."""
    async with database.transaction() as connection:
        await rows_read(connection)
        await connection.execute("ANALYZE jobs, procrastinate_jobs, job_attempts")
        for _ in range(7):  # from the sixth on, Postgres keeps the plans
            await rows_read(connection)
        await connection.execute("SET LOCAL session_replication_role = replica")  # no triggers
        await connection.execute(
            """
            WITH task AS (
                INSERT INTO procrastinate_jobs (queue_name, task_name, status)
                SELECT 'evalqueue', 'noop', 'succeeded' FROM generate_series(1, %s) RETURNING id
            ), job AS (
                INSERT INTO jobs (
                    job_type, status, attempt, result, started_at, completed_at, task_id)
                SELECT 'noop', 'completed', 1, '{}', now(), now(), id FROM task RETURNING id
            )
            INSERT INTO job_attempts SELECT id, 1, 'old', now(), now(), 'completed' FROM job""",
            [ENDED],
        )
        await connection.execute("SET LOCAL session_replication_role = origin")
        read = await rows_read(connection)
    assert {name: rows for name, rows in read.items() if rows > ENDED / 2} == {}


async def rows_read(connection: Connection) -> dict[str, int]:
    """Rows of jobs and their tasks that each step read."""
    read = dict[str, int]()
    for name, statement in STEPS.items():
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(ARGUMENTS.encode())
        arguments = await cursor.fetchone()
        assert arguments is not None
        before = await _rows_read(connection)
        await connection.execute(statement.encode(), arguments | {"all": Jsonb(arguments["all"])})
        read[name] = await _rows_read(connection) - before
    return read


async def _rows_read(connection: Connection) -> int:
    cursor = await connection.execute(
        "SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables "
        "WHERE relname IN ('jobs', 'procrastinate_jobs', 'job_attempts', 'procrastinate_events')"
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
