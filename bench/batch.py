"""Wall time of a batch against its ideal, calls × latency ÷ concurrency, and its CPU time per call.

The CPU time is all that the worker process used, from the prompt to the stored score.

./run bench batch [THREADS] [LATENCY_MS] [CONCURRENCY …]
"""

import asyncio
import csv
import io
import sys

import psutil
from processes import postgres, vendor, worker

from evalqueue import Client
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.datasets import bundled


async def main(threads: int, latency_ms: float, concurrencies: list[int]) -> None:
    content = conversations(threads)
    async with postgres() as database, vendor(latency_ms) as url:
        environment = {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": url}
        async with (
            worker(database, "--concurrency=2", **environment) as process,
            Client(database=database) as client,
        ):
            for concurrency in [concurrencies[0], *concurrencies]:  # the first warms up
                params = EvaluateBatch(
                    csv_content=content, concurrency=concurrency, llm_provider="simulated"
                )
                before = cpu_seconds(process.pid)
                job = await client.wait((await client.submit(params)).id)
                cpu = cpu_seconds(process.pid) - before
                assert job.completed_at is not None
                assert job.started_at is not None
                assert job.result is not None, job.error_message
                wall = (job.completed_at - job.started_at).total_seconds()
                calls = job.result["llm_calls"]
                ideal = calls * latency_ms / 1000 / concurrency
                print(
                    f"{threads} threads, {calls} calls of {latency_ms:.0f} ms, "
                    f"{concurrency} at a time: {wall:.2f} s, ideal {ideal:.2f} s, "
                    f"ratio {wall / ideal:.2f}, {calls / wall:.0f} calls/s, "
                    f"{1000 * cpu / calls:.2f} ms CPU per call"
                )


def conversations(threads: int) -> str:
    """A CSV file of so many of the bundled conversations, repeated under other ids."""
    with bundled.path("kaira").open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    originals = list(dict.fromkeys(row[0] for row in rows))
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerow(header)
    for number in range(threads):
        original = originals[number % len(originals)]
        copies = ([f"t{number}", *row[1:]] for row in rows if row[0] == original)
        writer.writerows(copies)
    return output.getvalue()


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(
        main(
            int(arguments[0]) if arguments else 40,
            float(arguments[1]) if len(arguments) > 1 else 200.0,
            [int(each) for each in arguments[2:]] or [8, 16, 32],
        )
    )
