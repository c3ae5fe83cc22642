"""Postgres goes away while processes share the pace of a credential."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from faults.deployment import Deployment
from faults.server import Stopping

from evalqueue import JobStatus
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.pace.ledger import PostgresLedger
from evalqueue.evaluators.pace.limits import UNKNOWN
from evalqueue.evaluators.pace.pace import Pace
from evalqueue.evaluators.providers.openai import OpenAIProvider
from evalqueue.evaluators.providers.policy import LlmCaller, Slots
from evalqueue.evaluators.providers.provider import CompletionRequest
from evalqueue.evaluators.providers.recorder import CallRecord, CallSite
from evalqueue.postgres.database import TRANSIENT, Database
from evalqueue.testing import Behaviour, SimulatedServer

OUTAGE_SECONDS = 6.0
PER_SECOND = 40
SCHEMA = {
    "type": "object",
    "properties": {"predicted_agent": {"type": "string", "enum": ["A", "B"]}},
    "required": ["predicted_agent"],
    "additionalProperties": False,
}


@dataclass
class Calls:
    """When calls were made, and how they ended."""

    moments: list[tuple[float, str]]

    is_ready = True

    async def ready(self) -> None: ...

    def record(self, call: CallRecord) -> None:
        self.moments.append((time.monotonic(), call.outcome.value))


@asynccontextmanager
async def process(
    deployment: Deployment, provider: OpenAIProvider, name: str, calls: Calls
) -> AsyncGenerator[LlmCaller]:
    """What one worker process has of a pace."""
    async with AsyncExitStack() as stack:
        database = Database(deployment.address)
        await database.open()
        stack.push_async_callback(database.close)
        ledger = PostgresLedger(database, provider.credential)
        pace = Pace(provider.credential, ledger, worker=name, limits=UNKNOWN, away=TRANSIENT)
        stack.push_async_callback(pace.aclose)
        queue = pace.queue(job=name, owner=name)
        yield LlmCaller(provider, slots=Slots(16), recorder=calls, turns=queue)


async def test_the_pace_is_kept_while_postgres_is_away(deployment: Deployment):
    behaviour = Behaviour(
        gold={}, latency_ms=30, limit_requests=PER_SECOND, limit_window_seconds=1,
        limit_burst_seconds=0.5,
    )  # fmt: skip
    calls = Calls([])
    async with AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(SimulatedServer(behaviour))
        provider = OpenAIProvider.open(
            name="openai", model="m", api_key="sk", base_url=f"{vendor.url}/v1"
        )
        stack.push_async_callback(provider.aclose)
        callers = [
            await stack.enter_async_context(process(deployment, provider, name, calls))
            for name in ("one", "two")
        ]
        going_on = asyncio.Event()

        async def ask(caller: LlmCaller, slot: int) -> int:
            answered = 0
            while not going_on.is_set():
                request = CompletionRequest(
                    system="", prompt=f"{id(caller)} {slot} {answered}", schema_name="intent",
                    schema=SCHEMA,
                )  # fmt: skip
                await caller.call(request, CallSite(evaluator="intent"))
                answered += 1
            return answered

        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(ask(each, n)) for each in callers for n in range(16)]
            await asyncio.sleep(6)
            async with deployment.server.outage(Stopping.IMMEDIATE):
                gone = time.monotonic()
                await asyncio.sleep(OUTAGE_SECONDS)
                back = time.monotonic()
            # So long that the vendor's burst of half a second is less than the 5 % below.
            await asyncio.sleep(14)
            end = time.monotonic()
            going_on.set()

    answered = [at for at, outcome in calls.moments if outcome == "ok"]
    assert sum(each.result() for each in asking) == len(answered), "nothing is lost"
    during = sum(gone + 1.5 <= at <= back for at in answered) / (back - gone - 1.5)
    assert 0.5 * PER_SECOND <= during <= 1.05 * PER_SECOND
    afterwards = sum(back + 3 <= at <= end for at in answered) / (end - back - 3)
    assert 0.75 * PER_SECOND <= afterwards <= 1.05 * PER_SECOND
    refused = len(calls.moments) - len(answered)
    assert refused <= 0.1 * len(answered)


async def test_two_batches_are_at_their_pace_within_5_seconds_of_a_long_outage(
    deployment: Deployment,
):
    per_second = 15
    behaviour = Behaviour(
        latency_ms=100, limit_requests=per_second, limit_window_seconds=1, limit_burst_seconds=0.5
    )
    async with SimulatedServer(behaviour) as vendor:
        simulated = {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": vendor.url}
        for _ in range(2):
            await deployment.worker(None, "--concurrency=1", **simulated)
        jobs = [
            await deployment.submit(
                EvaluateBatch(
                    llm_provider="simulated", total_items=48, concurrency=16, max_workers=1
                ),
                owner=owner,
            )
            for owner in ("anna", "ben")
        ]

        def answered() -> int:
            by_status: Any = vendor.simulation.stats["by_status"]
            return by_status.get("200", 0)

        await vendor.simulation.until(lambda stats: stats["by_status"].get("200", 0) >= 80)
        async with deployment.server.outage(Stopping.IMMEDIATE):
            await asyncio.sleep(15)
        await asyncio.sleep(5)
        before = answered()
        await asyncio.sleep(4)
        afterwards = (answered() - before) / 4
        await deployment.until_over(*jobs)
        await deployment.watch.until(
            "SELECT count(*) = 96 AND sum(missing_verdicts) = 0 FROM thread_evaluations"
        )

    found = [await deployment.get(each) for each in jobs]
    assert [(each.status, each.attempt) for each in found] == [(JobStatus.COMPLETED, 1)] * 2
    assert 0.85 * per_second <= afterwards <= 1.1 * per_second
    results = [each.result or {} for each in found]
    assert answered() == sum(each["llm_calls"] - each["failed_llm_calls"] for each in results)
