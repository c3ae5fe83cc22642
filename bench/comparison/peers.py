"""Other programs that ask an endpoint, each in a process of its own.

`python peers.py NAME URL CALLS CONCURRENCY` warms up, then measures, and prints the calls it made,
its wall time and its CPU time in seconds as JSON. The request is as long as a judge's.
"""

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

PROMPT = "The user asks for the calories of two idlis with sambar. " * 60  # about 3,400 characters


async def repeated(ask: Callable[[], Awaitable[object]], calls: int, concurrency: int) -> None:
    """Ask so many times, so many at a time."""
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await ask()

    await asyncio.gather(*(worker() for _ in range(concurrency)))


async def openai_sdk(url: str, calls: int, concurrency: int) -> dict[str, float]:
    """A loop around the SDK, on aiohttp, as its documentation has it."""
    from openai import AsyncOpenAI, DefaultAioHttpClient

    async with AsyncOpenAI(
        api_key="none", base_url=url, max_retries=0, http_client=DefaultAioHttpClient()
    ) as client:

        async def ask() -> None:
            await client.chat.completions.create(
                model="model", messages=[{"role": "user", "content": PROMPT}]
            )

        await repeated(ask, concurrency, concurrency)
        return await measured(repeated(ask, calls, concurrency))


async def aiohttp_loop(url: str, calls: int, concurrency: int) -> dict[str, float]:
    """A loop around aiohttp: what Python's fastest client needs."""
    import aiohttp

    body = {"model": "model", "messages": [{"role": "user", "content": PROMPT}]}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask() -> None:
            async with session.post(f"{url}/chat/completions", json=body) as response:
                json.loads(await response.read())

        await repeated(ask, concurrency, concurrency)
        return await measured(repeated(ask, calls, concurrency))


async def inspect_ai(url: str, calls: int, concurrency: int) -> dict[str, float]:
    """Inspect AI: a task of so many samples, with one call each."""
    options = {"max_connections": concurrency}
    await inspect_samples(url, concurrency, concurrency, **options)
    return await measured(inspect_samples(url, calls, concurrency, **options))


async def inspect_adaptive(url: str, calls: int, concurrency: int) -> dict[str, float]:
    """The same with adaptive connections, up to the concurrency, and nothing known before."""
    return await measured(
        inspect_samples(url, calls, concurrency, adaptive_connections=concurrency)
    )


async def inspect_samples(url: str, samples: int, at_once: int, **config: Any) -> None:
    from inspect_ai import Task, eval_async
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import GenerateConfig, get_model
    from inspect_ai.solver import generate

    model = get_model(
        "openai/model", base_url=url, api_key="none", responses_api=False,
        config=GenerateConfig(**config),
    )  # fmt: skip
    dataset = MemoryDataset([Sample(input=f"{number} {PROMPT}") for number in range(samples)])
    logs = await eval_async(
        Task(dataset=dataset, solver=generate()), model=model, max_samples=at_once,
        log_dir=os.environ["PEER_LOGS"],
    )  # fmt: skip
    assert logs[0].status == "success", logs[0].error


async def deepeval(url: str, calls: int, concurrency: int) -> dict[str, float]:
    """DeepEval: a metric with given steps, so that it makes one call a case."""
    from deepeval import evaluate
    from deepeval.evaluate import AsyncConfig, CacheConfig, DisplayConfig, ErrorConfig
    from deepeval.metrics import GEval
    from deepeval.models import GPTModel
    from deepeval.test_case import LLMTestCase, LLMTestCaseParams

    model = GPTModel(model="gpt-4o-mini", api_key="none", base_url=url)

    def run(cases: int) -> None:
        metric = GEval(
            name="Correctness", model=model, evaluation_steps=["Is the answer right?"],
            evaluation_params=[LLMTestCaseParams.INPUT, LLMTestCaseParams.ACTUAL_OUTPUT],
        )  # fmt: skip
        evaluate(
            [
                LLMTestCase(input=f"{number} {PROMPT}", actual_output="90")
                for number in range(cases)
            ],
            [metric],
            async_config=AsyncConfig(max_concurrent=concurrency, throttle_value=0),
            display_config=DisplayConfig(show_indicator=False, print_results=False),
            cache_config=CacheConfig(write_cache=False),
            error_config=ErrorConfig(ignore_errors=False),
        )

    await asyncio.to_thread(run, concurrency)
    return await measured(asyncio.to_thread(run, calls))


async def measured(work: Awaitable[object]) -> dict[str, float]:
    """The wall and CPU time of some work, in seconds."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    await work
    return {"wall": time.perf_counter() - wall, "cpu": cpu_seconds() - cpu}


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


PEERS = {
    "openai": openai_sdk,
    "aiohttp": aiohttp_loop,
    "inspect-ai": inspect_ai,
    "inspect-ai-adaptive": inspect_adaptive,
    "deepeval": deepeval,
}

if __name__ == "__main__":
    name, url, calls, concurrency = sys.argv[1:]
    figures = asyncio.run(PEERS[name](url, int(calls), int(concurrency)))
    print(json.dumps({"calls": int(calls), **figures}))
