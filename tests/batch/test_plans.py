"""Statistics that were gathered while the tables were small don't make a large run slow."""

from collections.abc import Generator
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest

from evalqueue.evaluators.results.rows import QUERIES
from evalqueue.evaluators.runs import store

SUBMIT = "SELECT evalqueue_submit_job('evaluate-batch', '{\"app_id\": \"kaira-bot\"}')"
RUN = "SELECT id FROM eval_runs ORDER BY created_at DESC LIMIT 1"
FILL = """
    WITH threads AS (
        INSERT INTO thread_evaluations (run_id, thread_id, result, attempt, duration_ms)
        SELECT %(run)s, 'thread ' || n, '{}', 1, 0 FROM generate_series(1, %(threads)s) AS n
        RETURNING id, thread_id
    )
    INSERT INTO scores (
        run_id, evaluation_id, thread_id, evaluator, version, name, kind, value_number)
    SELECT %(run)s, id, thread_id, 'tone', '1', 'number_' || n, 'number', n
    FROM threads, generate_series(1, %(scores)s) AS n
"""
STATEMENTS: dict[str, LiteralString] = {
    "the page's list": QUERIES["outcomes"],
    "the summary": store.QUERIES["outcomes"],
}


@pytest.fixture
def connection(dsn: str) -> Generator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def run_of(connection: psycopg.Connection, *, threads: int, scores: int) -> UUID:
    connection.execute(SUBMIT)
    row = connection.execute(RUN).fetchone()
    assert row is not None
    connection.execute(FILL, {"run": row[0], "threads": threads, "scores": scores})
    return row[0]


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_scores_are_looked_up_by_thread(
    connection: psycopg.Connection, statement: LiteralString
) -> None:
    run_of(connection, threads=1, scores=80)
    connection.execute("ANALYZE")
    run = run_of(connection, threads=2_000, scores=3)

    arguments = dict.fromkeys(("evaluator", "name", "value", "expected", "thread_ids"))
    rows = connection.execute(
        f"EXPLAIN {statement}", {"run_id": run, "after": 0, "limit": 5_000, **arguments}
    ).fetchall()
    plan = "\n".join(line for (line,) in rows)
    assert "Index Scan using scores_once" in plan, plan
    assert "Seq Scan on scores" not in plan, plan
