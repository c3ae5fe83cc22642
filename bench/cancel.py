"""Cancel → the last LLM call in flight aborted, as the vendor sees it.

./run bench cancel [ROUNDS]
"""

import asyncio
import gc
import sys
import time

from processes import percentiles, postgres, worker

from evalqueue import Client
from evalqueue.evaluators import EvaluateBatch
from evalqueue.testing import Behaviour, SimulatedServer

CALLS = 16


async def main(rounds: int) -> None:
    answers: list[float] = []
    aborts: list[float] = []
    async with (
        postgres() as database,
        SimulatedServer(Behaviour(latency_ms=60_000, latency_sigma=0)) as judge,
        worker(
            database, "--concurrency=4",
            EVALQUEUE_LLM_PROVIDER="simulated", EVALQUEUE_SIMULATED_URL=judge.url,
        ),
        Client(database=database) as client,
    ):  # fmt: skip
        gc.freeze()  # the vendor is in this process: its pauses are not what is measured
        for _ in range(rounds):
            params = EvaluateBatch(total_items=48, concurrency=CALLS, llm_provider="simulated")
            job = await client.submit(params)
            await judge.simulation.until(lambda stats: stats["in_flight"] == CALLS)
            asked = time.perf_counter()
            await client.cancel(job.id)
            answers.append((time.perf_counter() - asked) * 1000)
            await judge.simulation.until(lambda stats: stats["in_flight"] == 0)
            aborts.append((time.perf_counter() - asked) * 1000)
    print(percentiles("cancel → answered, and final", answers, "ms"))
    print(percentiles(f"cancel → last of {CALLS} calls aborted", aborts, "ms"))


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 30))
