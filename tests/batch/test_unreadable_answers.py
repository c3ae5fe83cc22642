"""A model whose answers can't be read: the job stops soon, and can be continued."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import httpx
import pytest
from aiohttp import web
from costing import work
from judged_runs import client

from evalqueue import Client, JobStatus
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.providers.policy import CallPolicy
from evalqueue.testing import SimulatedServer

__all__ = ["client"]  # a fixture
UNREADABLE = CallPolicy().unreadable_answers
CONCURRENCY = 4
THREADS = 20
MOST = 5 * UNREADABLE
"""Requests until answers about three conversations are there: the first may have many questions."""
REFUSAL = "I'm sorry, Anna (anna@example.org), I can't help with that."


@dataclass
class Gateway:
    """Stands before a vendor, and may put its own text into the answers."""

    vendor: str
    says: str | None = None
    every: int = 1
    """Of so many answers, one gets the text."""
    requests: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        async with httpx.AsyncClient() as http:
            reply = await http.post(self.vendor + request.path, content=await request.read())
        body = reply.json()
        if self.says is not None and self.requests % self.every == 0:
            body["choices"][0]["message"]["content"] = self.says
        return web.json_response(body, status=reply.status_code)


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Gateway]:
    """The endpoint that OpenAI's SDK is configured for."""
    async with SimulatedServer() as vendor:
        found = Gateway(vendor.url)
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/{path:.*}", found.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://{host}:{port}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        yield found
        await runner.cleanup()


def batch() -> EvaluateBatch:
    return EvaluateBatch(
        total_items=THREADS, concurrency=CONCURRENCY, llm_provider="openai", llm_model="m"
    )


async def test_a_model_that_never_writes_what_is_asked_stops_the_job(
    client: Client, dsn: str, gateway: Gateway
) -> None:
    gateway.says = REFUSAL
    job = await client.submit(batch())
    await work(dsn)
    stopped = await client.get(job.id)

    assert stopped.status is JobStatus.FAILED
    assert stopped.retryable
    message = stopped.error_message or ""
    assert "openai/m has given no answer that can be read" in message
    assert "I'm sorry, Anna ([email])" in message
    assert UNREADABLE <= gateway.requests <= MOST


async def test_retry_continues_it_and_asks_anew_what_could_not_be_read(
    client: Client, dsn: str, gateway: Gateway
) -> None:
    gateway.says = REFUSAL
    job = await client.submit(batch())
    await work(dsn)
    gateway.says = None
    again = await client.retry(job.id)
    await work(dsn)
    continued = await client.get(again.id)

    assert continued.status is JobStatus.COMPLETED
    assert continued.result is not None
    assert continued.result["run_status"] == "completed"
    assert continued.result["completed"] == THREADS


async def test_a_model_that_is_read_now_and_then_is_not_stopped(
    client: Client, dsn: str, gateway: Gateway
) -> None:
    gateway.says, gateway.every = REFUSAL, 2
    job = await client.submit(batch())
    await work(dsn)
    over = await client.get(job.id)

    assert over.status is JobStatus.COMPLETED
    assert gateway.requests > 10 * UNREADABLE
