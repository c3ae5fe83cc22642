"""The views for programs that read results."""

from collections.abc import Generator
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest

THREAD = """
    INSERT INTO thread_evaluations (run_id, thread_id, result, attempt, duration_ms)
    VALUES (%s, %s, '{}', 1, 0) RETURNING id
"""
SCORE = """
    INSERT INTO scores (run_id, evaluation_id, thread_id, turn, evaluator, version, name, kind,
        value_text, value_number, value_boolean, expected, reasoning, failure)
    VALUES (%(run_id)s, %(evaluation_id)s, %(thread_id)s, %(turn)s, 'tone', %(version)s, %(name)s,
        %(kind)s, %(value_text)s, %(value_number)s, %(value_boolean)s, NULL, %(reasoning)s,
        %(failure)s)
"""
MANY_RUNS = """
    WITH runs AS (
        INSERT INTO eval_runs (id, command, owner)
        SELECT gen_random_uuid(), 'evaluate-batch', 'owner ' || n % 100
        FROM generate_series(1, 1000) AS n RETURNING id
    ), threads AS (
        INSERT INTO thread_evaluations (run_id, thread_id, result, attempt, duration_ms)
        SELECT runs.id, 'thread ' || n, '{}', 1, 0 FROM runs, generate_series(1, 20) AS n
        RETURNING id, run_id, thread_id
    )
    INSERT INTO scores (
        run_id, evaluation_id, thread_id, evaluator, version, name, kind, value_text)
    SELECT run_id, id, thread_id, 'tone', '1', 'score_' || n, 'category', 'good'
    FROM threads, generate_series(1, 3) AS n
"""


@pytest.fixture
def connection(dsn: str) -> Generator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def run_of(connection: psycopg.Connection) -> UUID:
    run_id = uuid4()
    connection.execute(
        "INSERT INTO eval_runs (id, command, app_id, owner, llm_model)"
        " VALUES (%s, 'evaluate-batch', 'retail', 'nightly', 'judge-1')",
        [run_id],
    )
    return run_id


def thread_of(connection: psycopg.Connection, run_id: UUID, thread_id: str, **score: Any) -> None:
    """A thread with one score."""
    row = connection.execute(THREAD, [run_id, thread_id]).fetchone()
    assert row is not None
    names = ("turn", "value_text", "value_number", "value_boolean", "reasoning", "failure")
    given = {"version": "1", "name": "verdict", "kind": "category", **dict.fromkeys(names), **score}
    connection.execute(
        SCORE, {"run_id": run_id, "evaluation_id": row[0], "thread_id": thread_id, **given}
    )


def rates(connection: psycopg.Connection, run_id: UUID) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT version, name, value, counted, judged, conversations, rate FROM evalqueue_rates"
        " WHERE run_id = %s ORDER BY version, name, value",
        [run_id],
    ).fetchall()


def test_a_score_comes_with_its_run(connection: psycopg.Connection):
    run_id = run_of(connection)
    thread_of(connection, run_id, "a", value_text="good", reasoning="It answers.")
    thread_of(connection, run_id, "b", failure="timeout")

    found = connection.execute(
        "SELECT run_id, app_id, owner, llm_model, thread_id, turn, evaluator, version, name,"
        " value_text, value_number, value_boolean, expected, reasoning, failure,"
        " created_at <= clock_timestamp() FROM evalqueue_scores ORDER BY thread_id"
    ).fetchall()

    of_run = (run_id, "retail", "nightly", "judge-1")
    of_score = (None, "tone", "1", "verdict")
    assert found == [
        (*of_run, "a", *of_score, "good", None, None, None, "It answers.", None, True),
        (*of_run, "b", *of_score, None, None, None, None, None, "timeout", True),
    ]


def test_what_was_not_judged_is_in_no_rate(connection: psycopg.Connection):
    run_id = run_of(connection)
    thread_of(connection, run_id, "a", value_text="good")
    thread_of(connection, run_id, "b", value_text="good")
    thread_of(connection, run_id, "c", value_text="bad")
    thread_of(connection, run_id, "d", failure="timeout")
    thread_of(connection, run_id, "e")  # nothing was to be measured

    assert rates(connection, run_id) == [
        ("1", "verdict", "bad", 1, 3, 5, pytest.approx(1 / 3)),
        ("1", "verdict", "good", 2, 3, 5, pytest.approx(2 / 3)),
    ]


def test_versions_runs_and_numbers_are_not_counted_together(connection: psycopg.Connection):
    run_id, other = run_of(connection), run_of(connection)
    thread_of(connection, run_id, "a", value_text="good")
    thread_of(connection, run_id, "b", value_text="good", version="2")
    thread_of(connection, run_id, "c", name="polite", kind="boolean", value_boolean=False)
    thread_of(connection, run_id, "d", name="stars", kind="number", value_number=0.5)
    thread_of(connection, other, "a", value_text="bad")

    assert rates(connection, run_id) == [
        ("1", "polite", "false", 1, 1, 4, 1.0),
        ("1", "verdict", "good", 1, 1, 4, 1.0),
        ("2", "verdict", "good", 1, 1, 4, 1.0),
    ]
    assert rates(connection, other) == [("1", "verdict", "bad", 1, 1, 1, 1.0)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM evalqueue_scores WHERE run_id = %(run_id)s",
        "SELECT * FROM evalqueue_rates WHERE run_id = %(run_id)s",
        "SELECT * FROM evalqueue_rates WHERE owner = 'owner 7'",
    ],
)
def test_one_run_of_many_is_asked_for_and_no_other_is_read(
    connection: psycopg.Connection, statement: LiteralString
):
    connection.execute(MANY_RUNS)
    connection.execute("VACUUM ANALYZE scores, thread_evaluations, eval_runs")
    row = connection.execute("SELECT id FROM eval_runs LIMIT 1").fetchone()
    assert row is not None

    rows = connection.execute(f"EXPLAIN {statement}", {"run_id": row[0]}).fetchall()

    plan = "\n".join(line for (line,) in rows)
    assert "scores_counted" in plan, plan
    assert "Seq Scan on scores" not in plan, plan
    assert "Seq Scan on thread_evaluations" not in plan, plan
