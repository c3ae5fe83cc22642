"""The baseline of bench/faults: procrastinate with its default settings, and one task.

The task writes one row per item, each in a transaction of its own, and repeats a write until the
database is back, so that the figures show faults of the queue and not of the task. It does not know
which items an earlier attempt has done, because procrastinate has no items.
"""

import asyncio
import os
import signal
from datetime import UTC, datetime
from typing import LiteralString

import psycopg
from procrastinate import App, JobContext, PsycopgConnector, RetryStrategy

SCHEMA: LiteralString = """
CREATE SCHEMA faults;
CREATE TABLE faults.effects (
    job_id bigint NOT NULL,
    item text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""
RETRY = RetryStrategy(max_attempts=3, wait=1)
RETRY_DELAY = 0.2  # seconds between tries to write an item

STALLED_SECONDS = 30.0  # procrastinate's own default for get_stalled_jobs
RESCUE_CRON = "* * * * * */5"  # every 5 s; the example in its documentation has every 10 minutes


async def steps(
    context: JobContext,
    *,
    items: int,
    seconds: float,
    kills_its_worker: bool = False,
    tries_again: int = 0,
) -> None:
    assert context.job.id is not None
    for item in range(items):
        if kills_its_worker and item >= items // 2:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(seconds)
        await _write(context.job.id, str(item))
    if context.job.attempts < tries_again:
        raise RuntimeError("not now")


async def _write(job_id: int, item: str) -> None:
    address = os.environ["FAULTS_DIRECT"]
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(address) as connection:
                await connection.execute(
                    "INSERT INTO faults.effects (job_id, item) VALUES (%s, %s)", [job_id, item]
                )
        except psycopg.OperationalError:
            await asyncio.sleep(RETRY_DELAY)
        else:
            return


def make_app(address: str, *, prepared: bool = True, knows_the_task: bool = True) -> App:
    kwargs = {} if prepared else {"prepare_threshold": None}
    made = App(connector=PsycopgConnector(conninfo=address, kwargs=kwargs))
    if knows_the_task:
        made.task(name="steps", retry=RETRY, pass_context=True)(steps)
    return made


async def retry_stalled(context: JobContext, timestamp: int) -> None:
    """https://procrastinate.readthedocs.io/en/stable/howto/production/retry_stalled_jobs.html"""
    manager = context.app.job_manager
    for job in await manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS):
        await manager.retry_job(job, retry_at=datetime.now(UTC))


_address = os.environ.get("DATABASE_URL", "")

app = make_app(_address)
"""With default settings."""
unprepared = make_app(_address, prepared=False)
"""Without prepared statements, as PgBouncer requires."""
older = make_app(_address, knows_the_task=False)
"""Without the task, like a worker of an older release."""
rescued = make_app(_address)
"""With the documented periodic task for stalled jobs."""
rescued.periodic(cron=RESCUE_CRON)(
    rescued.task(name="retry_stalled", queueing_lock="retry_stalled", pass_context=True)(
        retry_stalled
    )
)
