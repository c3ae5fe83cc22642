"""Where one scenario of bench/faults.py plays, for one side: a Postgres of its own, some workers,
and a count of what became of the work.
"""

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
"""What is not over so long after its fault, although a worker lives, is stuck."""
DATABASE = "work"
LOOK_INTERVAL = 0.03  # seconds
PATIENCE = 30.0  # seconds
PROMPT_SECONDS = 1.0  # a pick-up that takes longer waited for a poll

Scenario = Callable[["Scene"], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of the work."""

    lost: int
    twice: int
    stuck: int
    recovered_seconds: float | None
    notes: tuple[str, ...]

    def __str__(self) -> str:
        after = "never" if self.recovered_seconds is None else f"{self.recovered_seconds:.1f} s"
        told = f" ({'; '.join(self.notes)})" if self.notes else ""
        return f"{self.lost} / {self.twice} / {self.stuck} / {after}{told}"


@dataclass(slots=True, kw_only=True)
class Wanted:
    """A job, and how it should end."""

    end: str
    items: int
    is_probe: bool = False
    """Submitted to see what became of the worker, not of the work."""
    over_at: float | None = None
    ended: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class Scene:
    """One scenario, one side."""

    side: Side
    server: Server
    home: Path
    wanted: dict[str, Wanted] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lasting: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    fault_at: float = 0.0
    recovered: float | None = None
    """Measured by the scenario itself, if what is over when doesn't say it."""

    @property
    def address(self) -> str:
        return self.server.address(DATABASE)

    @property
    def watch(self) -> Watch:
        return Watch(self.address)

    async def network(self) -> Proxy:
        """A network to break, as long as the scene lasts."""
        return await self.lasting.enter_async_context(Proxy(self.server.port).open())

    async def pooler(self) -> int:
        """The port of a PgBouncer in transaction mode, as long as the scene lasts."""
        return await self.lasting.enter_async_context(bouncer(self.home, self.server.port))

    def fault(self) -> None:
        """It is now that things break, or (an outage) that they could go on."""
        self.fault_at = time.time()

    async def worker(
        self, *flags: str, kind: str = "plain", through: int | None = None, listens: bool = True,
        **environment: str,
    ) -> Worker:  # fmt: skip
        """A worker that is ready, on the database or on a port in between."""
        before = await self._listeners() if listens else 0
        worker = worker_process(
            self.side, kind, self.server.address(DATABASE, port=through), self.address,
            self.home / f"worker-{len(self.workers)}.log", flags, environment,
        )  # fmt: skip
        self.workers.append(worker)
        worker.start()
        if listens:
            await worker.until_told(self.side.ready)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_PATIENCE):
                    while await self._listeners() <= before:
                        await asyncio.sleep(LOOK_INTERVAL)
        return worker

    async def submit(
        self, items: int = 60, seconds: float = 0.25, *, end: str = "done",
        due: datetime | None = None, **how: Any,
    ) -> str:  # fmt: skip
        """Submit a job, past every fault."""
        job = await self.side.submit(self.address, items=items, seconds=seconds, due=due, how=how)
        self.wanted[job] = Wanted(end=end, items=items)
        return job

    async def cancel(self, job: str) -> None:
        self.wanted[job].end = "cancelled"
        await self.side.cancel(self.address, job)

    async def until_effects(self, job: str, count: int, *, bound: float = PATIENCE) -> None:
        """Wait until so many items of a job are written.

        Raises:
            TimeoutError: they are not, within `bound` seconds.
        """
        async with asyncio.timeout(bound):
            while len(await self._moments(job)) < count:
                await asyncio.sleep(LOOK_INTERVAL)

    async def pick_up(self, *, bound: float = BOUND_SECONDS) -> float:
        """How long a new job that does nothing waits for its worker."""
        job = await self.submit(items=1, seconds=0.0, priority=9)
        self.wanted[job].is_probe = True
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

    async def settle(self) -> Seen:
        """Wait until all is over, or the bound; then count."""
        deadline = time.time() + BOUND_SECONDS
        while not await self._all_over() and time.time() < deadline:
            await asyncio.sleep(LOOK_INTERVAL)
        twice = lost = 0
        after: list[float | None] = []
        for job, wanted in self.wanted.items():
            effects = Counter(await self._items(job))
            twice += sum(count - 1 for count in effects.values())
            missing = wanted.end == "done" == wanted.ended and len(effects) < wanted.items
            if wanted.over_at is not None and (wanted.ended != wanted.end or missing):
                lost += 1
                self.notes.append("has items missing" if missing else f"ends as {wanted.ended}")
            if not wanted.is_probe:
                after.append(await self._went_on(job, wanted))
        spent = max((await self._held_against()).values(), default=0)
        if spent > 0:
            self.notes.append(f"{spent} attempt(s) spent")
        exits = [code for worker in self.workers for code in worker.exits]
        if exits:
            self.notes.append(f"workers ended {len(exits)}× ({', '.join(map(str, exits[:3]))})")
        stuck = sum(wanted.over_at is None for wanted in self.wanted.values())
        measured = [moment for moment in after if moment is not None]
        recovered = self.recovered if self.recovered is not None else max(measured, default=None)
        failed = stuck or lost
        return Seen(
            lost=lost,
            twice=twice,
            stuck=stuck,
            recovered_seconds=None if failed else recovered,
            notes=tuple(dict.fromkeys(self.notes)),
        )

    async def until_attempt_again(self, job: str) -> None:
        """Wait until it is running once more, after it was taken back."""
        async with asyncio.timeout(PATIENCE):
            while await self.state(job) != "running":
                await asyncio.sleep(LOOK_INTERVAL)

    async def state(self, job: str) -> str:
        return dict(await self.watch.rows(self.side.states))[job]

    async def _held_against(self) -> dict[str, int]:
        return dict(await self.watch.rows(self.side.held_against))

    async def _all_over(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            for job, state in await self.watch.rows(self.side.states):
                wanted = self.wanted.get(job)
                if wanted is None or state in ("waiting", "running"):
                    continue
                if wanted.over_at is None:
                    wanted.over_at = time.time()
                wanted.ended = state
        return all(wanted.over_at is not None for wanted in self.wanted.values())

    async def _went_on(self, job: str, wanted: Wanted) -> float | None:
        """Seconds from the fault to its next effect, or to its end."""
        moments = [moment for moment in await self._moments(job) if moment > self.fault_at]
        if wanted.over_at is not None:
            moments.append(wanted.over_at)
        if wanted.end != "done":
            moments = [] if wanted.over_at is None else [wanted.over_at]
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
async def scene(side: Side) -> AsyncGenerator[Scene]:
    """A scene with nothing on it yet."""
    home = temporary_home("evalqueue-faults-")
    os.chmod(home, 0o755)  # noqa: S103  PgBouncer and Postgres give up root's rights
    server = await asyncio.to_thread(Server, home)
    await server.start()
    made = Scene(side=side, server=server, home=home)
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
