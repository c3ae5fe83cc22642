"""Tasks beside others: an error that ends one is logged at once, without its text."""

import ast
import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from evalqueue import Client, JobParams
from evalqueue.jobs import AttemptOutcome, Ended
from evalqueue.postgres.database import Connection, Database
from evalqueue.telemetry import tasks
from evalqueue.worker.recorder import OutcomeRecorder

PACKAGE = Path(tasks.__file__).parents[1]
THEIR_ERRORS_ARE_TAKEN = {
    "cli/stack/child.py", "evaluators/simulated/loopback.py", "http/events/broadcaster.py",
    "telemetry/tasks.py", "worker/attempt.py", "worker/running.py",
}  # fmt: skip
"""Modules that await the tasks they start, or look at their errors when they are done."""


TEXT = "a text of a conversation"


class Work(JobParams, job_type="work"):
    pass


async def fail(after: asyncio.Event | None = None) -> None:
    if after is not None:
        await after.wait()
    raise ZeroDivisionError(TEXT)


async def test_an_error_is_logged_at_once_although_the_task_is_kept(
    caplog: pytest.LogCaptureFixture,
):
    task = tasks.start(fail(), name="the work")
    await asyncio.wait({task})
    await asyncio.sleep(0)

    (record,) = caplog.records
    assert record.getMessage() == "The task 'the work' failed"
    assert "builtins.ZeroDivisionError" in caplog.text
    assert TEXT not in caplog.text


async def test_an_error_after_the_caller_was_cancelled_is_logged(
    caplog: pytest.LogCaptureFixture,
):
    go_on = asyncio.Event()
    caller = asyncio.create_task(tasks.uninterrupted(fail(go_on), name="the work"))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done(), "the work goes on"
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller

    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    assert "builtins.ZeroDivisionError" in caplog.text


async def test_a_caller_that_is_not_cancelled_gets_the_error_itself(
    caplog: pytest.LogCaptureFixture,
):
    with pytest.raises(ZeroDivisionError):
        await tasks.uninterrupted(fail(), name="the work")
    assert caplog.records == []


class Defective(Database):
    """A database whose driver has a defect."""

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        raise RuntimeError(TEXT)
        yield  # a generator


async def test_attempts_learn_that_their_ends_can_not_be_recorded(
    dsn: str, caplog: pytest.LogCaptureFixture
):
    recorder = OutcomeRecorder(Defective(dsn))
    async with Client(dsn) as client:
        jobs = [await client.submit(Work()) for _ in range(3)]
    ended = Ended(kind=AttemptOutcome.COMPLETED, result={})
    async with asyncio.timeout(30):
        found = await asyncio.gather(
            *(recorder.record(job, ended) for job in jobs), return_exceptions=True
        )
    assert [type(each) for each in found] == [RuntimeError] * 3
    assert TEXT not in caplog.text


def test_tasks_are_started_where_their_errors_are_logged():
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in {"create_task", "ensure_future"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "asyncio"
    }
    assert found == THEIR_ERRORS_ARE_TAKEN
