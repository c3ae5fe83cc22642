"""Every statement of a worker, refused by the server with every class of SQLSTATE, for a while and
for good. No process dies, no attempt is charged, and no job is stuck.

The table of cases is read from the product's own statements: what is new is in it.
"""

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from faults import refuser
from faults.api import api
from faults.deployment import Deployment
from faults.fleet import Worker
from faults.proxy import NetworkState
from faults.server import Connection
from faults.work import Steps

from evalqueue import JobStatus, doctor
from evalqueue.doctor import Level
from evalqueue.postgres import queries, schedules
from evalqueue.postgres.database import Database
from evalqueue.postgres.queries import load
from evalqueue.postgres.schedules import Schedule

PATIENCE = 30.0  # seconds
LOOK_INTERVAL = 0.05  # seconds
CODES = [
    "08006", "0A000", "21000", "22012", "23503", "23514", "24000", "25006", "26000", "28000",
    "2D000", "34000", "38000", "39000", "3D000", "3F000", "40001", "40P01", "42501", "42883",
    "42P13", "44000", "53100", "53200", "54000", "55000", "55P03", "57014", "57P03", "58030",
    "F0000", "HV000", "P0001", "XX000",
]  # fmt: skip
"""One SQLSTATE of each class that a running server may raise, and more of those that are common
(https://www.postgresql.org/docs/current/errcodes-appendix.html)."""

_CALLED = re.compile(r"\b(evalqueue_\w+)\(")
NOT_OF_WORKERS = {
    "evalqueue_submit_job_row", "evalqueue_submit_job_rows", "evalqueue_cancel_job",
    "evalqueue_retry_job", "evalqueue_outlook", "evalqueue_queue_positions", "evalqueue_listed",
    "evalqueue_waiting_jobs",
}  # fmt: skip
OF_ONE_ATTEMPT = {
    "evalqueue_hold_job", "evalqueue_flush_job", "evalqueue_finish_job", "evalqueue_start_helpers",
    "evalqueue_claim_items",
}  # fmt: skip
"""What is refused here for a reason that lasts ends the job itself."""
TRIED_BEFORE = {
    "evalqueue_try_claims": "evalqueue_claim_jobs",
    "evalqueue_flush_job": "evalqueue_flush_jobs",
}
"""Called only after another statement was refused."""
AT_THE_ENDS = {"evalqueue_register_worker", "evalqueue_unregister_worker"}
RARE = {"evalqueue_prune"}  # every ten minutes
NAMED = {
    "evalqueue_claim_jobs": "claim jobs",
    "evalqueue_next_due": "claim jobs",
    "evalqueue_lead": "lead the fleet",
    "evalqueue_workers_without_session": "look for lost workers",
    "evalqueue_flush_jobs": "extend leases",
}


def functions() -> set[str]:
    """All functions that the statements of a worker call."""
    texts = [
        *queries.FLEET.values(), *queries.JOBS.values(), *queries.SCHEDULES.values(),
        *load("evaluation/retention").values(),
    ]  # fmt: skip
    return {name for text in texts for name in _CALLED.findall(text)} - NOT_OF_WORKERS


EVERY_FEW_SECONDS = sorted(functions() - OF_ONE_ATTEMPT - AT_THE_ENDS - RARE)


@asynccontextmanager
async def refusing(deployment: Deployment, name: str) -> AsyncGenerator[Connection]:
    """A connection to the database, in which these functions can be refused."""
    async with await deployment.server.connect(deployment.database) as connection:
        before = TRIED_BEFORE.get(name)
        await refuser.install(connection, [name] if before is None else [name, before])
        yield connection


@asynccontextmanager
async def working(deployment: Deployment, name: str) -> AsyncGenerator[Worker]:
    # A worker that is lost must be noticed by its session, not by its lease.
    lease = "60" if name == "evalqueue_lose_worker" else "2"
    slots = "1" if name == "evalqueue_jobs_to_yield" else "6"
    async with deployment.proxy().open() as listening:
        worker = await deployment.worker(
            None, f"--concurrency={slots}", EVALQUEUE_LEASE_SECONDS=lease,
            EVALQUEUE_LISTEN_URL=deployment.behind(listening),
        )  # fmt: skip
        if name == "evalqueue_heartbeat":  # the only proof of life then: twice a second
            listening.state = NetworkState.CUT
        yield worker


async def until_refused(connection: Connection, name: str, wanted: int) -> None:
    """Wait until the function was refused so many times in all."""
    async with asyncio.timeout(PATIENCE):
        while await refuser.refusals(connection, name) < wanted:
            await asyncio.sleep(LOOK_INTERVAL)


@asynccontextmanager
async def load_on(deployment: Deployment, name: str) -> AsyncGenerator[None]:
    """What makes workers call this function again and again: jobs, and what else it takes."""
    at_once = {"evalqueue_finish_jobs": 6, "evalqueue_jobs_to_yield": 1}.get(name, 2)
    # A slot is yielded while it is in use: by jobs that take as long as the next one needs to come.
    seconds = 0.05 if name == "evalqueue_jobs_to_yield" else 0.01

    async def submit() -> None:
        async with await deployment.server.connect(deployment.database) as connection:
            while True:
                await connection.execute(
                    "SELECT evalqueue_submit_job('fault-steps',"
                    " jsonb_build_object('items', 3, 'seconds', %s::float))"
                    " FROM generate_series(1, %s)",
                    [seconds, at_once],
                )
                if name == "evalqueue_fire_schedule":
                    await connection.execute(
                        "UPDATE job_schedules SET paused_at = NULL, next_at = '2026-01-01'"
                    )
                await asyncio.sleep(0.15)

    submitting = asyncio.create_task(submit())
    try:
        yield
    finally:
        submitting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await submitting


async def with_schedule(deployment: Deployment) -> None:
    database = Database(deployment.address, max_size=1)
    await database.open()
    async with database.connection() as connection:
        await schedules.put(
            connection,
            Schedule(
                name="nightly", cron="* * * * *", timezone="UTC", job_type="fault-steps",
                params={}, owner="default", queue="evalqueue", priority=0, max_attempts=3,
                next_at=datetime(2026, 1, 1, tzinfo=UTC),
            ),
        )  # fmt: skip
    await database.close()


async def with_lost_worker(deployment: Deployment) -> None:
    victim = await deployment.worker(
        None, "--queues=lost", name="victim", EVALQUEUE_LEASE_SECONDS="60"
    )
    job = await deployment.submit(Steps(items=2, gate=str(deployment.gate)), queue="lost")
    await deployment.until_begun(job)
    await victim.kill()
    deployment.gate.touch()


async def assert_unharmed(deployment: Deployment, *, lost: int = 0) -> None:
    await deployment.watch.until("SELECT bool_and(completed_at IS NOT NULL) FROM jobs")
    bad = await deployment.watch.rows(
        "SELECT id, status, attempt, failed_attempts, error_message FROM jobs"
        " WHERE status <> 'completed' OR failed_attempts > 0"
    )
    assert len(bad) == lost, bad
    await deployment.assert_sound()


@pytest.mark.parametrize("name", EVERY_FEW_SECONDS)
async def test_a_statement_that_is_refused_for_a_while_harms_no_job(
    deployment: Deployment, name: str
):
    async with (
        refusing(deployment, name) as connection,
        working(deployment, name) as worker,
    ):
        if name == "evalqueue_fire_schedule":
            await with_schedule(deployment)
        if name == "evalqueue_lose_worker":
            await with_lost_worker(deployment)
        async with load_on(deployment, name):
            # It is tried again after the two seconds in which a worker may come back.
            for code in CODES[:: 6 if name == "evalqueue_lose_worker" else 1]:
                wanted = await refuser.refuse(connection, name, code, times=1)
                if before := TRIED_BEFORE.get(name):
                    await refuser.refuse(connection, before, "P0001", times=1)
                await until_refused(connection, name, wanted)
                await refuser.allow(connection)
        assert worker.is_alive
        if name == "evalqueue_lose_worker":
            await deployment.worker(None, "--queues=lost", name="next")
        # The job of the worker that was killed.
        await assert_unharmed(deployment, lost=int(name == "evalqueue_lose_worker"))


@pytest.mark.parametrize("name", NAMED)
async def test_a_statement_that_is_refused_for_good_is_named(deployment: Deployment, name: str):
    async with (
        refusing(deployment, name) as connection,
        working(deployment, name) as worker,
    ):
        # A lease to extend, as long as the test wants.
        held = await deployment.submit(Steps(items=2, gate=str(deployment.gate)))
        await deployment.until_begun(held)
        async with load_on(deployment, name):
            await refuser.refuse(connection, name, "42501")
            await deployment.watch.until("SELECT bool_or(troubles <> '[]') FROM job_workers")
        found = [each for each in await findings(deployment) if each.level is Level.WRONG]
        assert [each.name for each in found].count("refused") == 1, found
        assert f"can't {NAMED[name]}: InsufficientPrivilege: refused: {name}" in found[0].what
        assert "refused" in await warnings(deployment)
        assert worker.is_alive
        await refuser.allow(connection)
        deployment.gate.touch()
        await deployment.watch.until("SELECT bool_and(troubles = '[]') FROM job_workers")
        assert "refused" not in await warnings(deployment)
        await assert_unharmed(deployment)


@pytest.mark.parametrize("name", sorted(OF_ONE_ATTEMPT))
async def test_a_statement_of_an_attempt_that_is_refused_once_costs_at_most_its_job(
    deployment: Deployment, name: str
):
    transient = {"08006", "25006", "40001", "40P01", "53100", "53200", "55P03", "57014", "57P03",
                 "58030"}  # fmt: skip
    helpers = 1 if name in ("evalqueue_start_helpers", "evalqueue_claim_items") else 0
    async with (
        refusing(deployment, name) as connection,
        working(deployment, name) as worker,
    ):
        for code in CODES:
            if before := TRIED_BEFORE.get(name):
                await refuser.refuse(connection, before, "P0001", times=1)
            await refuser.refuse(connection, name, code, times=1)
            job = await deployment.submit(Steps(items=4, seconds=0.01, max_helpers=helpers))
            await deployment.until_over(job)
            assert await refuser.refusals(connection, name) > 0, code
            await refuser.allow(connection)
            found = await deployment.get(job)
            expected = (JobStatus.COMPLETED, 0)
            if code not in transient and found.status is JobStatus.FAILED:
                assert f"refused: {name}" in str(found.error_message)
                expected = (JobStatus.FAILED, 1)
            assert (found.status, found.failed_attempts) == expected, code
        neighbour = await deployment.submit(Steps(items=2, seconds=0.01))
        await deployment.until_over(neighbour)
        found = await deployment.get(neighbour)
        assert (found.status, found.attempt) == (JobStatus.COMPLETED, 1)
        assert worker.is_alive
        await deployment.assert_sound()


@pytest.mark.parametrize("code", ["53100", "40001"])
async def test_a_worker_waits_while_its_registration_is_refused(deployment: Deployment, code: str):
    name = "evalqueue_register_worker"
    async with refusing(deployment, name) as connection:
        await refuser.refuse(connection, name, code)
        worker = deployment.fleet.start(deployment.address)
        await until_refused(connection, name, 2)
        await refuser.allow(connection)
        await worker.ready()


@pytest.mark.parametrize("code", CODES[::8])
async def test_a_worker_stops_although_its_goodbye_is_refused(deployment: Deployment, code: str):
    name = "evalqueue_unregister_worker"
    async with refusing(deployment, name) as connection:
        worker = await deployment.worker()
        await refuser.refuse(connection, name, code)
        worker.terminate()
        assert await worker.wait() in (0, -signal.SIGTERM)


async def findings(deployment: Deployment) -> list[doctor.Finding]:
    database = Database(deployment.address, max_size=1)
    await database.open()
    try:
        return await doctor.examine(database, keeps_jobs_for_ever=True)
    finally:
        await database.close()


async def warnings(deployment: Deployment) -> set[str]:
    async with api(deployment.address, deployment.fleet.logs) as client:
        reply = (await client.get("/readyz")).json()
    return {each["name"] for each in reply["warnings"]}
