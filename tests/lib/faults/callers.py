"""Callers of the API and of the database that never stop asking, and record what went wrong."""

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import psycopg

from evalqueue import Client, NotCancellable
from evalqueue.postgres.addresses import asyncpg_dsn
from faults.work import Steps

ACCEPTABLE = {200, 201, 202, 204, 400, 404, 409}
"""400, 404 and 409: over already, not yet there, or nothing to retry. None of them is our fault."""
_SUBMIT = "SELECT evalqueue_submit_job('fault-steps', '{\"items\": 2}', owner => 'sql')"


class Callers:
    """Reads everything that the API has about some jobs and runs, and submits, cancels and streams.

    Args:
        base: the address of an API, asked for each new connection.
        may_end: whether an API may refuse a connection or cut it, because it restarts.
    """

    def __init__(self, address: str, base: Callable[[], str], *, may_end: bool = False) -> None:
        self._address = address
        self._base = base
        self._may_end = may_end
        self._random = random.Random(1)  # noqa: S311  which request comes next
        self.jobs: list[UUID] = []
        self.run_ids: list[UUID] = []
        self.errors: list[str] = []
        self.asked: Counter[str] = Counter()
        self.messages = 0
        self.cancelled: set[UUID] = set()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Callers"]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._repeat(action))
                for action in (
                    self._read_over_http, self._read_over_http, self._submit_over_http,
                    self._cancel, self._follow, self._submit_by_client, self._submit_by_psycopg,
                    self._submit_by_asyncpg,
                )
            ]  # fmt: skip
            yield self
            for task in tasks:
                task.cancel()

    async def until_asked(self, times: int) -> None:
        """Wait until each operation was asked so many more times."""
        before = Counter(self.asked)
        async with asyncio.timeout(120):
            while (
                not self.asked
                or min(self.asked[name] - before[name] for name in self.asked) < times
            ):
                await asyncio.sleep(0.02)

    async def _repeat(self, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await action()
            except httpx.TransportError as error:
                if not self._may_end:
                    self.errors.append(f"{action.__name__}: {error!r}")
                await asyncio.sleep(0.05)
            except (psycopg.Error, asyncpg.PostgresError, OSError) as error:
                self.errors.append(f"{action.__name__}: {error!r}")
                await asyncio.sleep(0.05)

    async def _ask(self, http: httpx.AsyncClient, method: str, path: str, **how: Any) -> Any:
        reply = await http.request(method, path, **how)
        self.asked[f"{method} {path if path.count('/') < 3 else path.split('/')[2]}"] += 1
        if reply.status_code not in ACCEPTABLE:
            self.errors.append(f"{method} {path}: {reply.status_code} {reply.text[:300]}")
        return reply

    @asynccontextmanager
    async def _http(self) -> AsyncGenerator[httpx.AsyncClient]:
        async with httpx.AsyncClient(
            base_url=self._base(), trust_env=False, timeout=60.0
        ) as client:
            yield client

    async def _read_over_http(self) -> None:
        async with self._http() as http:
            document = (await http.get("/openapi.json")).json()
            paths = [
                path
                for path, operations in document["paths"].items()
                if "get" in operations and not path.endswith("/events")
            ]
            while True:
                for path in self._filled(paths):
                    await self._ask(http, "GET", path)

    def _filled(self, paths: list[str]) -> Iterator[str]:
        """The paths of all that can be read, about one job and one run."""
        names = {"queue": "evalqueue", "app_id": "kaira-bot", "dataset_id": "sha256:" + "0" * 64,
                 "case_id": "x", "evaluation_id": "1", "log_id": "1"}  # fmt: skip
        if self.jobs:
            names["job_id"] = str(self._random.choice(self.jobs))
        if self.run_ids:
            names["run_id"] = str(self._random.choice(self.run_ids))
        for path in paths:
            with contextlib.suppress(KeyError):
                yield path.format_map(names)

    async def _submit_over_http(self) -> None:
        async with self._http() as http:
            for number in itertools.count():
                body = {"job_type": "fault-steps", "params": {"items": 3, "seconds": 0.01}}
                headers = {"Idempotency-Key": str(number)} if number % 2 else {}
                reply = await self._ask(http, "POST", "/api/jobs", json=body, headers=headers)
                if reply.is_success:
                    self.jobs.append(UUID(reply.json()["id"]))
                await asyncio.sleep(0.05)

    async def _cancel(self) -> None:
        async with self._http() as http:
            while True:
                await asyncio.sleep(0.2)
                if self.jobs:
                    job_id = self._random.choice(self.jobs[-5:])
                    reply = await self._ask(http, "POST", f"/api/jobs/{job_id}/cancel")
                    if reply.status_code == 200:
                        self.cancelled.add(job_id)

    async def _follow(self) -> None:
        async with (
            self._http() as http,
            http.stream("GET", "/api/events", timeout=None) as stream,
        ):
            if stream.status_code != 200:
                self.errors.append(f"GET /api/events: {stream.status_code}")
                return
            async for line in stream.aiter_lines():
                self.messages += line.startswith("data:")
        if not self._may_end:
            self.errors.append("GET /api/events: ended")

    async def _submit_by_client(self) -> None:
        async with Client(self._address) as client:
            while True:
                job = await client.submit(Steps(items=2, seconds=0.01), owner="python")
                await client.submit_many([Steps(items=1, seconds=0.01)] * 2, owner="python")
                self.jobs.append((await client.get(job.id)).id)
                await client.list(limit=5)
                with contextlib.suppress(NotCancellable):
                    await client.cancel(self._random.choice(self.jobs[-20:]))
                self.asked["Client"] += 1
                await asyncio.sleep(0.05)

    async def _submit_by_psycopg(self) -> None:
        """In a transaction of a host service's own, on its own connection."""
        async with await psycopg.AsyncConnection.connect(self._address) as connection:
            while True:
                async with connection.transaction():
                    await connection.execute("SELECT 1")
                    await connection.execute(_SUBMIT)
                self.asked["psycopg"] += 1
                await asyncio.sleep(0.02)

    async def _submit_by_asyncpg(self) -> None:
        connection: Any = await asyncpg.connect(asyncpg_dsn(self._address))
        try:
            while True:
                await connection.fetchval(_SUBMIT)
                self.asked["asyncpg"] += 1
                await asyncio.sleep(0.02)
        finally:
            connection.terminate()
