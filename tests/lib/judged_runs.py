"""Fixtures: runs that are judged by a vendor of the test's own."""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import pytest
from costing import run_of, work

from evalqueue import Client
from evalqueue.evaluators import EvaluateBatch
from evalqueue.testing import Behaviour, SimulatedServer


@pytest.fixture
async def client(dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Client]:
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    async with Client(dsn) as client:
        client.job_types.add(EvaluateBatch)
        yield client


@pytest.fixture
def judged(client: Client, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    async def judged(behaviour: Behaviour, **params: Any) -> UUID:
        """A run of conversations, judged by a vendor that behaves so."""
        async with SimulatedServer(behaviour) as vendor:
            monkeypatch.setenv("EVALQUEUE_SIMULATED_URL", vendor.url)
            job = await client.submit(EvaluateBatch(**({"concurrency": 64} | params)))
            await work(dsn)
        return run_of(await client.get(job.id))

    return judged
