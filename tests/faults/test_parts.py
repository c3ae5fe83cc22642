"""Tests of the checker and of the PgBouncer of these tests."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from faults.bouncer import bouncer
from faults.checker import KNOWN_AFTER, Row, Tables, check, judge
from faults.deployment import Deployment
from faults.work import Steps

NOW = datetime.now(UTC)


async def test_a_sound_job_is_found_sound(deployment: Deployment):
    job = await deployment.submit(Steps())
    await deployment.worker()
    await deployment.until_over(job)
    await deployment.assert_sound()


async def test_the_checker_finds_what_is_unsound(deployment: Deployment):
    """The rows are changed by SQL, without the product's functions and triggers."""
    job = await deployment.submit(Steps())
    await deployment.worker()
    await deployment.until_over(job)
    async with await deployment.server.connect(deployment.database) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            "INSERT INTO faults.effects SELECT job_id, item, 2 FROM faults.effects"
        )
        await connection.execute(
            "INSERT INTO faults.history (job_id, old, new) VALUES (%s, 'completed', 'failed')",
            [job.id],
        )
        await connection.execute("UPDATE procrastinate_jobs SET status = 'doing'")
        await connection.execute("UPDATE jobs SET attempt = 2")
    report = await check(deployment.address)

    assert {finding.rule for finding in report.findings} == {
        "task", "transitions", "attempts", "once", "whole",
    }  # fmt: skip


def test_a_call_that_was_bought_twice_is_found_unless_it_was_in_flight_when_a_worker_died():
    call = {
        "run_id": 1, "thread_id": "a", "evaluator": "intent", "turn": 1, "method": "judge",
        "prompt": "?", "outcome": "ok", "started_at": NOW, "created_at": NOW,
    }  # fmt: skip

    def tables_with(*calls: Row) -> Tables:
        return Tables(
            jobs=[], tasks={}, history={}, attempts={}, effects=[], runs=[], threads=[],
            calls=[call, call | {"outcome": "timeout"}, *calls],
        )  # fmt: skip

    assert [finding.rule for finding in judge(tables_with(call))] == ["called once"]
    assert list(judge(tables_with(call), calls_in_flight=1)) == []
    later = call | {"started_at": NOW + KNOWN_AFTER + timedelta(seconds=0.1)}
    (finding,) = judge(tables_with(later), calls_in_flight=1)
    assert "asked 0:00:02.100000 after its answer was on record" in finding.what


async def test_a_bouncer_answers_a_select(deployment: Deployment, tmp_path: Path):
    async with bouncer(tmp_path, deployment.server.port) as port:
        address = deployment.server.address(deployment.database, port=port)
        async with await psycopg.AsyncConnection.connect(
            address, autocommit=True, prepare_threshold=None
        ) as connection:
            cursor = await connection.execute("SELECT count(*) FROM jobs")
            assert await cursor.fetchone() == (0,)
