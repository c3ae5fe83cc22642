"""A receiver of webhooks, and jobs that alerts are about."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from costing import query, work
from tests.cli.conftest import shell
from tests.http.conftest import serve_api

from evalqueue import Client, Job
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.alerts import store
from evalqueue.evaluators.alerts.alert import Alert, NewAlert
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour, SimulatedServer

KEY = bytes(range(32))
JOB_TYPES = ("evaluate-batch", "evaluate-source")
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request, as it came."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def is_signed(self) -> bool:
        """By the scheme of Standard Webhooks, computed from its description."""
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode()
        digest = hmac.new(KEY, signed + self.body, hashlib.sha256).digest()
        expected = f"v1,{base64.b64encode(digest).decode()}"
        return hmac.compare_digest(self.headers["webhook-signature"], expected)


@dataclass(kw_only=True)
class Receiver:
    """A real HTTP server, which answers with the given statuses and then with 204."""

    url: str = ""
    statuses: list[int] = field(default_factory=list[int])
    received: list[Received] = field(default_factory=list[Received])

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        if "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        else:
            body = b""
            while size := int((await reader.readline()).strip(), 16):
                body += await reader.readexactly(size)
                await reader.readline()
        self.received.append(Received(target=first.split()[1], headers=headers, body=body))
        status = self.statuses.pop(0) if self.statuses else 204
        location = "Location: http://169.254.169.254/\r\n" if status == 302 else ""
        writer.write(f"HTTP/1.1 {status} Said\r\n{location}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncGenerator[Receiver]:
    receiver = Receiver(statuses=list(statuses))
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0)
    async with server:
        receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield receiver


@dataclass(kw_only=True)
class Watching:
    """An owner's alerts and the jobs that they are about."""

    client: Client
    dsn: str
    database: Database
    monkeypatch: pytest.MonkeyPatch

    async def add(self, *, owner: str = "default", **fields: Any) -> Alert:
        async with self.database.connection() as connection:
            return await store.add(connection, NewAlert(**fields), owner=owner, job_types=JOB_TYPES)

    async def judge(self, behaviour: Behaviour | None = None, **params: Any) -> Job:
        """Evaluate conversations, and run all that follows at once."""
        async with SimulatedServer(behaviour or Behaviour()) as vendor:
            self.monkeypatch.setenv("EVALQUEUE_SIMULATED_URL", vendor.url)
            job = await self.client.submit(EvaluateBatch(**({"concurrency": 64} | params)))
            await work(self.dsn)
        return await self.client.get(job.id)

    async def hurry(self, behaviour: Behaviour | None = None) -> None:
        """Run what waits for a later time."""
        async with SimulatedServer(behaviour or Behaviour()) as vendor:
            self.monkeypatch.setenv("EVALQUEUE_SIMULATED_URL", vendor.url)
            await query(
                self.database,
                "UPDATE procrastinate_jobs SET scheduled_at = NULL"
                " WHERE status = 'todo' RETURNING id",
            )
            await work(self.dsn)

    async def events(self, alert: Alert) -> list[tuple[Any, ...]]:
        return await query(
            self.database,
            "SELECT kind, job_id, explanation FROM alert_events WHERE alert_id = %s"
            " ORDER BY created_at",
            alert.id,
        )

    async def job_ids(self, job_type: str) -> list[UUID]:
        rows = await query(
            self.database, "SELECT id FROM jobs WHERE job_type = %s ORDER BY created_at", job_type
        )
        return [job_id for (job_id,) in rows]


@pytest.fixture
async def watching(
    dsn: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Watching]:
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    monkeypatch.setenv("EVALQUEUE_WEBHOOK_SECRET", SECRET)
    async with Client(dsn, job_types=[EvaluateBatch]) as client:
        yield Watching(client=client, dsn=dsn, database=database, monkeypatch=monkeypatch)


__all__ = ["serve_api", "shell"]
