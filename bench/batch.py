"""Wall time of a batch against its ideal, calls × latency ÷ concurrency.

./run exec python bench/batch.py [THREADS] [LATENCY_MS] [CONCURRENCY …]
"""

import asyncio
import sys

from processes import postgres, vendor, worker

from evalqueue import Client
from evalqueue.evaluators import EvaluateBatch


async def main(threads: int, latency_ms: float, concurrencies: list[int]) -> None:
    async with postgres() as database, vendor(latency_ms) as url:
        environment = {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": url}
        async with (
            worker(database, "--concurrency=2", **environment),
            Client(database=database) as client,
        ):
            for concurrency in [concurrencies[0], *concurrencies]:  # the first warms up
                params = EvaluateBatch(
                    total_items=threads, concurrency=concurrency, llm_provider="simulated"
                )
                job = await client.wait((await client.submit(params)).id)
                assert job.completed_at is not None
                assert job.started_at is not None
                assert job.result is not None, job.error_message
                wall = (job.completed_at - job.started_at).total_seconds()
                calls = job.result["llm_calls"]
                ideal = calls * latency_ms / 1000 / concurrency
                print(
                    f"{threads} threads, {calls} calls of {latency_ms:.0f} ms, "
                    f"{concurrency} at a time: {wall:.2f} s, ideal {ideal:.2f} s, "
                    f"ratio {wall / ideal:.2f}"
                )


arguments = sys.argv[1:]
asyncio.run(
    main(
        int(arguments[0]) if arguments else 40,
        float(arguments[1]) if len(arguments) > 1 else 200.0,
        [int(each) for each in arguments[2:]] or [8, 16, 32],
    )
)
