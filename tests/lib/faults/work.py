"""A job type whose effects can be counted, for worker processes (`EVALQUEUE_IMPORTS`).

Each item of a job stores one row in a table of the tests, through the fence. The table accepts the
same item from two attempts, so that the checker finds duplicates that a constraint would hide.
"""

import asyncio
import os
import re
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
    helper_id uuid,  -- the helper job that stored it; NULL: the job itself
    -- A statement repeated after a lost reply stores no second row.
    UNIQUE NULLS NOT DISTINCT (job_id, item, helper_id, attempt)
);
"""

_STORE_ITEM: LiteralString = (
    "INSERT INTO faults.effects (job_id, item, helper_id, attempt) VALUES (%s, %s, %s, %s) "
    "ON CONFLICT DO NOTHING"
)


class Manner(StrEnum):
    """How an item is worked on."""

    SLEEPS = "sleeps"
    """Sleeps without blocking, as for a remote response."""
    BLOCKS = "blocks"
    """Blocks the event loop for that long."""
    HOLDS_THE_GIL = "holds-the-gil"
    """Runs C code that no other thread can interrupt, far longer than that."""
    CLINGS = "clings"
    """Ignores its cancellation and goes on."""


class Steps(JobParams, job_type="fault-steps"):
    """Some items, each of which takes some time and stores one effect."""

    items: int = 3
    """How many."""
    seconds: float = 0.05
    """Per item."""
    concurrency: int = 1
    """Items at a time."""
    max_helpers: int = 0
    """The largest number of helper jobs."""
    manner: Manner = Manner.SLEEPS
    """How each item is worked on."""
    gate: str = ""
    """A path: until the file exists, the first attempt does only half of its items."""
    kills_its_worker: int = 0
    """In so many attempts the job kills its process after half of its items."""
    tries_again: int = 0
    """In so many attempts the job raises `TryAgain` at its end."""
    after: float = 0.0
    """Seconds until the next attempt after `TryAgain`."""
    later_attempts_rest: float = 0.0
    """Seconds that later attempts sleep before they end."""
    fails: bool = False
    """The job raises `JobFailed` at its end."""
    result_characters: int = 0
    """The length of a text in the job's result."""


@registered.handles(Steps)
async def work(context: JobContext, params: Steps) -> dict[str, Any]:
    await context.map(
        [str(number) for number in range(params.items)],
        _StepWork(context, params),
        checkpoint=Checkpoint(succeeded=await _stored_items(context)),
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
        raise JobFailed("as its params request")
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
        await connection.execute(_STORE_ITEM, [job.root_id, result, helper, job.attempt])


async def _stored_items(context: JobContext) -> list[str]:
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
            time.sleep(seconds)  # noqa: ASYNC251  blocks on purpose
        case Manner.HOLDS_THE_GIL:
            re.match(r"(a+)+$", "a" * 50 + "b")
        case Manner.CLINGS:
            ends = time.monotonic() + seconds
            while (left := ends - time.monotonic()) > 0:
                try:
                    await asyncio.sleep(left)
                except asyncio.CancelledError:
                    continue
