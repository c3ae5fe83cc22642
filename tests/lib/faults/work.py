"""Work whose effects can be counted: job types for worker processes (`EVALQUEUE_IMPORTS`).

Each item of a job leaves one row in a table of the test's own, kept through the fence. The table
takes the same item twice if it comes from two attempts: that nothing is done twice is for the
checker to find, not for a constraint to hide.
"""

import asyncio
import os
import signal
import time
from enum import StrEnum
from pathlib import Path
from typing import Any, LiteralString

from evalqueue import Checkpoint, ItemWork, JobContext, JobFailed, JobParams, TryAgain
from evalqueue.handlers import registered
from evalqueue.postgres.database import Connection

LOOK_INTERVAL = 0.02  # seconds

SCHEMA: LiteralString = """
CREATE SCHEMA IF NOT EXISTS faults;
CREATE TABLE faults.effects (
    job_id uuid NOT NULL,
    item text NOT NULL,
    attempt integer NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    hand uuid,  -- whose attempt it was; NULL: the job's own
    -- Said again after a lost answer, it is still one.
    UNIQUE NULLS NOT DISTINCT (job_id, item, hand, attempt)
);
"""

_KEEP: LiteralString = (
    "INSERT INTO faults.effects (job_id, item, hand, attempt) VALUES (%s, %s, %s, %s) "
    "ON CONFLICT DO NOTHING"
)


class Manner(StrEnum):
    """How an item is worked on."""

    SLEEPS = "sleeps"
    """Waits, as for an answer from afar."""
    BLOCKS = "blocks"
    """Holds up the whole event loop for that long."""
    CLINGS = "clings"
    """Swallows its cancellation and goes on."""


class Steps(JobParams, job_type="fault-steps"):
    """Some items, each of which takes its time and leaves one effect."""

    items: int = 3
    seconds: float = 0.05
    """Per item."""
    concurrency: int = 1
    max_helpers: int = 0
    """Other workers that may help with the items."""
    manner: Manner = Manner.SLEEPS
    gate: str = ""
    """A file: until it is there, the first attempt does no more than half of its items."""
    kills_its_worker: int = 0
    """In so many attempts it kills its own process, once half of its items are done."""
    tries_again: int = 0
    """In so many attempts it asks for another one at its end."""
    after: float = 0.0
    """Seconds until that one."""
    later_attempts_rest: float = 0.0
    """Seconds that an attempt after the first takes before it ends."""
    fails: bool = False
    """At its end it fails for good."""
    result_characters: int = 0


@registered.handles(Steps)
async def work(context: JobContext, params: Steps) -> dict[str, Any]:
    await context.map(
        [str(number) for number in range(params.items)],
        _StepWork(context, params),
        checkpoint=Checkpoint(succeeded=await _kept(context)),
        concurrency=params.concurrency,
        max_helpers=params.max_helpers,
    )
    if context.is_helper:
        return {"helped": str(context.job.root_id)}
    if context.job.attempt > 1:
        await asyncio.sleep(params.later_attempts_rest)
    if context.job.attempt <= params.tries_again:
        raise TryAgain("not now", after=params.after)
    if params.fails:
        raise JobFailed("as it was asked to")
    return {"items": params.items, "filling": "x" * params.result_characters}


class _StepWork(ItemWork[str, str]):
    def __init__(self, context: JobContext, params: Steps) -> None:
        self._context = context
        self._params = params

    async def work(self, item: str, /) -> str:
        params, attempt = self._params, self._context.job.attempt
        if int(item) >= params.items // 2:
            if attempt <= params.kills_its_worker:
                os.kill(os.getpid(), signal.SIGKILL)
            while params.gate and attempt == 1 and not Path(params.gate).exists():
                await _spend(LOOK_INTERVAL, params.manner)
        await _spend(params.seconds, params.manner)
        return item

    async def store(self, connection: Connection, result: str, /) -> None:
        job = self._context.job
        helper = job.id if self._context.is_helper else None
        await connection.execute(_KEEP, [job.root_id, result, helper, job.attempt])


async def _kept(context: JobContext) -> list[str]:
    async def read(connection: Connection) -> list[str]:
        cursor = await connection.execute(
            "SELECT item FROM faults.effects WHERE job_id = %s", [context.job.root_id]
        )
        return [item for (item,) in await cursor.fetchall()]

    return await context.database.until_done(read, what="The checkpoint")


async def _spend(seconds: float, manner: Manner) -> None:
    match manner:
        case Manner.SLEEPS:
            await asyncio.sleep(seconds)
        case Manner.BLOCKS:
            time.sleep(seconds)  # noqa: ASYNC251  that is its manner
        case Manner.CLINGS:
            ends = time.monotonic() + seconds
            while (left := ends - time.monotonic()) > 0:
                try:
                    await asyncio.sleep(left)
                except asyncio.CancelledError:
                    continue
