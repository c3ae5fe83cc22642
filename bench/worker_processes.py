"""One worker process against several: jobs that compute, and evaluations without latency.

    ./run bench worker_processes [--processes 2] [--rounds 5]

Rounds alternate. Jobs are submitted to a paused queue, which is resumed once every process is
ready; the time is from the first start to the last end. The database and the simulated vendor need
the same cores.
"""

import argparse
import asyncio
import os
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import noop_jobs  # noqa: F401  registers the job types
from processes import HERE, postgres, process, vendor

from evalqueue import Client
from evalqueue.evaluators import EvaluateBatch
from evalqueue.handlers import registered
from evalqueue.postgres import fleet
from evalqueue.postgres.database import Database

QUEUE = "evalqueue"


async def one(
    client: Client, processes: int, concurrency: int, jobs: Sequence[Any], **environment: str
) -> float:
    """Seconds that so many processes need for the jobs."""
    database = await client.database()
    async with database.connection() as connection:
        await fleet.pause(connection, QUEUE)
    submitted = await client.submit_many(jobs)
    async with process(
        sys.executable, "-m", "evalqueue", "worker", f"--processes={processes}",
        f"--concurrency={concurrency}", DATABASE_URL=database.conninfo, PYTHONPATH=str(HERE),
        EVALQUEUE_IMPORTS="noop_jobs", **environment,
    ):  # fmt: skip
        while len(await workers(database)) < processes:
            await asyncio.sleep(0.1)
        async with database.connection() as connection:
            await fleet.resume(connection, QUEUE)
        for job in submitted:
            await client.wait(job.id)
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT EXTRACT(epoch FROM max(completed_at) - min(started_at))::float8 FROM jobs "
            "WHERE id = ANY (%s)",
            [[job.id for job in submitted]],
        )
        ((seconds,),) = await cursor.fetchall()
    return seconds


async def workers(database: Database) -> Sequence[object]:
    async with database.connection() as connection:
        return await fleet.workers(connection)


async def main(arguments: argparse.Namespace) -> None:
    compute = registered.job_types["compute"]
    many = arguments.processes
    async with postgres() as database, vendor(0) as url:
        environment = {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": url}
        client = Client(database=database)
        computing = compute.model_validate({"milliseconds": 20})
        evaluation = EvaluateBatch(llm_provider="simulated", total_items=12, concurrency=8)
        for name, jobs, concurrency in (
            ("200 jobs of 20 ms of computing", [computing] * 200, 2),
            ("4 evaluations of 12 conversations", [evaluation] * 4, 2),
        ):
            times: dict[int, list[float]] = {1: [], many: []}
            for number in range(arguments.rounds):
                for processes in (1, many) if number % 2 else (many, 1):
                    times[processes].append(
                        await one(client, processes, concurrency, jobs, **environment)
                    )
            ratios = [
                single / several for single, several in zip(times[1], times[many], strict=True)
            ]
            print(
                f"{name}: 1 process {statistics.median(times[1]):.2f} s, {many} processes "
                f"{statistics.median(times[many]):.2f} s, ratio {statistics.median(ratios):.2f} "
                f"({min(ratios):.2f}-{max(ratios):.2f}); load {os.getloadavg()[0]:.1f} on "
                f"{os.cpu_count()} cores"
            )
        await client.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    asyncio.run(main(parser.parse_args()))
