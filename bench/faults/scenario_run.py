"""One scenario of bench/faults on one side: a Postgres, some workers, and the counted results."""

import asyncio
import contextlib
import os
import shutil
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from faults.bouncer import bouncer
from faults.proxy import Proxy
from faults.server import Server
from faults.watch import Watch
from homes import temporary_home
from sides import LISTEN_PATIENCE, Side, Worker, worker_process

BOUND_SECONDS = 60.0
"""A job that is not over so long after the fault is stuck."""
DATABASE = "work"
LOOK_INTERVAL = 0.03  # seconds
PATIENCE = 30.0  # seconds
PROMPT_SECONDS = 1.0  # a pick-up that takes longer waited for a poll

Scenario = Callable[["ScenarioRun"], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the jobs."""

    lost: int
    twice: int
    stuck: int
    recovered_seconds: float | None
    notes: tuple[str, ...]

    def __str__(self) -> str:
        after = "never" if self.recovered_seconds is None else f"{self.recovered_seconds:.1f} s"
        notes = f" ({'; '.join(self.notes)})" if self.notes else ""
        return f"{self.lost} / {self.twice} / {self.stuck} / {after}{notes}"


@dataclass(slots=True, kw_only=True)
class ExpectedJob:
    """A job, and how it should end."""

    end: str
    items: int
    is_probe: bool = False
    """Submitted to measure the worker; its recovery time doesn't count."""
    over_at: float | None = None
    ended: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class ScenarioRun:
    """One scenario on one side."""

    side: Side
    server: Server
    home: Path
    expected: dict[str, ExpectedJob] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lasting: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    fault_at: float = 0.0
    recovered: float | None = None
    """The recovery time in seconds, if the scenario measures it itself."""

    @property
    def address(self) -> str:
        return self.server.address(DATABASE)

    @property
    def watch(self) -> Watch:
        return Watch(self.address)

    async def network(self) -> Proxy:
        """A proxy in front of Postgres, for the duration of the scenario."""
        return await self.lasting.enter_async_context(Proxy(self.server.port).open())

    async def pooler(self) -> int:
        """The port of a PgBouncer in transaction mode, for the duration of the scenario."""
        return await self.lasting.enter_async_context(bouncer(self.home, self.server.port))

    def fault(self) -> None:
        """Record that the fault begins now, or (an outage) that it ends now."""
        self.fault_at = time.time()

    async def worker(
        self, *flags: str, kind: str = "plain", through: int | None = None, listens: bool = True,
        **environment: str,
    ) -> Worker:  # fmt: skip
        """Start a worker and wait until it is ready.

        Args:
            through: the port of a proxy or pooler; None: the database's own.
        """
        before = await self._listeners() if listens else 0
        worker = worker_process(
            self.side, kind, self.server.address(DATABASE, port=through), self.address,
            self.home / f"worker-{len(self.workers)}.log", flags, environment,
        )  # fmt: skip
        self.workers.append(worker)
        worker.start()
        if listens:
            await worker.until_logged(self.side.ready)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_PATIENCE):
                    while await self._listeners() <= before:
                        await asyncio.sleep(LOOK_INTERVAL)
        return worker

    async def submit(
        self, items: int = 60, seconds: float = 0.25, *, end: str = "done",
        due: datetime | None = None, **how: Any,
    ) -> str:  # fmt: skip
        """Submit a job on a connection that no fault affects."""
        job = await self.side.submit(self.address, items=items, seconds=seconds, due=due, how=how)
        self.expected[job] = ExpectedJob(end=end, items=items)
        return job

    async def cancel(self, job: str) -> None:
        self.expected[job].end = "cancelled"
        await self.side.cancel(self.address, job)

    async def until_effects(self, job: str, count: int, *, bound: float = PATIENCE) -> None:
        """Wait until so many items of a job are written.

        Raises:
            TimeoutError: there were fewer after `bound` seconds.
        """
        async with asyncio.timeout(bound):
            while len(await self._moments(job)) < count:
                await asyncio.sleep(LOOK_INTERVAL)

    async def pick_up(self, *, bound: float = BOUND_SECONDS) -> float:
        """The seconds that a new, empty job waits for a worker."""
        job = await self.submit(items=1, seconds=0.0, priority=9)
        self.expected[job].is_probe = True
        submitted = time.time()
        with contextlib.suppress(TimeoutError):
            await self.until_effects(job, 1, bound=bound)
            return (await self._moments(job))[0] - submitted
        return bound

    async def pick_ups(self, count: int) -> list[float]:
        return [await self.pick_up(bound=BOUND_SECONDS / 3) for _ in range(count)]

    def note_pick_ups(self, lags: list[float]) -> None:
        late = sum(lag >= PROMPT_SECONDS for lag in lags)
        self.notes.append(f"{late} of {len(lags)} pick-ups late, longest {max(lags):.1f} s")

    async def settle(self) -> Outcome:
        """Wait until all jobs are over or `BOUND_SECONDS` have passed; then count."""
        deadline = time.time() + BOUND_SECONDS
        while not await self._all_over() and time.time() < deadline:
            await asyncio.sleep(LOOK_INTERVAL)
        twice = lost = 0
        after: list[float | None] = []
        for job, expected in self.expected.items():
            effects = Counter(await self._items(job))
            twice += sum(count - 1 for count in effects.values())
            missing = expected.end == "done" == expected.ended and len(effects) < expected.items
            if expected.over_at is not None and (expected.ended != expected.end or missing):
                lost += 1
                self.notes.append("has items missing" if missing else f"ends as {expected.ended}")
            if not expected.is_probe:
                after.append(await self._recovery_seconds(job, expected))
        spent = max((await self._failed_attempts()).values(), default=0)
        if spent > 0:
            self.notes.append(f"{spent} attempt(s) spent")
        exits = [code for worker in self.workers for code in worker.exits]
        if exits:
            self.notes.append(f"workers ended {len(exits)}× ({', '.join(map(str, exits[:3]))})")
        stuck = sum(expected.over_at is None for expected in self.expected.values())
        measured = [moment for moment in after if moment is not None]
        recovered = self.recovered if self.recovered is not None else max(measured, default=None)
        failed = stuck or lost
        return Outcome(
            lost=lost,
            twice=twice,
            stuck=stuck,
            recovered_seconds=None if failed else recovered,
            notes=tuple(dict.fromkeys(self.notes)),
        )

    async def until_running(self, job: str) -> None:
        """Wait until a job is running."""
        async with asyncio.timeout(PATIENCE):
            while await self.state(job) != "running":
                await asyncio.sleep(LOOK_INTERVAL)

    async def state(self, job: str) -> str:
        return dict(await self.watch.rows(self.side.states))[job]

    async def _failed_attempts(self) -> dict[str, int]:
        return dict(await self.watch.rows(self.side.failed_attempts))

    async def _all_over(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            for job, state in await self.watch.rows(self.side.states):
                expected = self.expected.get(job)
                if expected is None or state in ("waiting", "running"):
                    continue
                if expected.over_at is None:
                    expected.over_at = time.time()
                expected.ended = state
        return all(expected.over_at is not None for expected in self.expected.values())

    async def _recovery_seconds(self, job: str, expected: ExpectedJob) -> float | None:
        """Seconds from the fault to the next effect of a job, or to its end."""
        moments = [moment for moment in await self._moments(job) if moment > self.fault_at]
        if expected.over_at is not None:
            moments.append(expected.over_at)
        if expected.end != "done":
            moments = [] if expected.over_at is None else [expected.over_at]
        return max(0.0, min(moments) - self.fault_at) if moments else None

    async def _items(self, job: str) -> list[str]:
        rows = await self.watch.rows("SELECT item FROM faults.effects WHERE job_id::text = %s", job)
        return [item for (item,) in rows]

    async def _moments(self, job: str) -> list[float]:
        rows = await self.watch.rows(
            "SELECT extract(epoch FROM at)::float8 FROM faults.effects "
            "WHERE job_id::text = %s ORDER BY at",
            job,
        )
        return [moment for (moment,) in rows]

    async def _listeners(self) -> int:
        return await self.watch.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND query ILIKE 'listen%%'"
        )


def in_seconds(seconds: float) -> datetime:
    return datetime.fromtimestamp(time.time() + seconds, UTC)


@asynccontextmanager
async def scenario_run(side: Side) -> AsyncGenerator[ScenarioRun]:
    """Set up a run: a Postgres with the side's schema, and no workers."""
    home = temporary_home("evalqueue-faults-")
    os.chmod(home, 0o755)  # noqa: S103  PgBouncer and Postgres give up root's rights
    server = await asyncio.to_thread(Server, home)
    await server.start()
    made = ScenarioRun(side=side, server=server, home=home)
    try:
        async with await server.connect() as admin:
            await admin.execute(f"CREATE DATABASE {DATABASE}")
        await side.set_up(server, DATABASE)
        yield made
    finally:
        for worker in made.workers:
            await worker.close()
        await made.lasting.aclose()
        await server.stop()
        shutil.rmtree(home, ignore_errors=True)
