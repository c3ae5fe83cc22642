"""A simulated vendor whose model has a price, and workers that judge with it."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from costing import Judged, price_list, work

from evalqueue import Client, Job
from evalqueue.evaluators import EvaluateBatch
from evalqueue.testing import Behaviour, SimulatedServer


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated model has a price."""
    monkeypatch.setenv("EVALQUEUE_PRICES", price_list())


@pytest.fixture
async def vendor() -> AsyncGenerator[SimulatedServer]:
    async with SimulatedServer(Behaviour()) as server:
        yield server


@pytest.fixture
async def client(
    dsn: str, vendor: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Client]:
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    monkeypatch.setenv("EVALQUEUE_SIMULATED_URL", vendor.url)
    async with Client(dsn) as client:
        client.job_types.add(EvaluateBatch)
        yield client


@pytest.fixture
def judge(client: Client, dsn: str) -> Judged:
    """Submit a batch, let a worker do it, and return the job."""

    async def judge(*, owner: str = "default", **params: Any) -> Job:
        if not {"total_items", "csv_content", "dataset_id"} & params.keys():
            params["total_items"] = 48
        job = await client.submit(EvaluateBatch(**{"concurrency": 32} | params), owner=owner)
        await work(dsn)
        return await client.get(job.id)

    return judge
