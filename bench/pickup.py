"""Submit → running: how long a job waits for an idle worker.

./run bench pickup [SUBMISSIONS]

Submissions arrive at random (Poisson, 20 a second) from another process than the worker's. The
times are started_at - created_at. A job that waited a second or more was found by a poll.
"""

import asyncio
import random
import sys

import noop_jobs  # noqa: F401  registers the job types
from processes import percentiles, postgres, worker

from evalqueue import Client
from evalqueue.handlers import registered


async def main(submissions: int) -> None:
    rng = random.Random(1)  # noqa: S311
    async with (
        postgres() as database,
        worker(database, "--concurrency=50", EVALQUEUE_IMPORTS="noop_jobs"),
        Client(database=database, job_types=registered.job_types.values()) as client,
    ):
        warm = await client.submit_params("noop", {})
        await client.wait(warm.id)
        last = warm
        for _ in range(submissions):
            last = await client.submit_params("noop", {})
            await asyncio.sleep(rng.expovariate(20))
        await client.wait(last.id)
        async with database.connection() as connection:
            cursor = await connection.execute(
                "SELECT EXTRACT(epoch FROM started_at - created_at)::float8 * 1000 FROM jobs "
                "WHERE id <> %s",
                [warm.id],
            )
            waits = [wait for (wait,) in await cursor.fetchall()]
    print(percentiles("submit → running", waits, "ms"))
    print(f"waited for a poll (≥ 1 s): {sum(wait >= 1000 for wait in waits)}")


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
