"""`./run soak`: a fleet under load and under attack for minutes, and then the checker's table.

Everything is real: a Postgres that syncs to its disk, worker processes behind networks of their
own (one of them behind PgBouncer), a simulated vendor that speaks HTTP. What is broken and what is
submitted is drawn from a seed. Exit code 0: sound; 1: not.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from homes import temporary_home
from rich.console import Console
from rich.live import Live
from rich.table import Table

from evalqueue.postgres import schema
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour, SimulatedServer
from faults import verdict
from faults.crew import Crew
from faults.diary import Diary
from faults.fleet import Fleet
from faults.load import LIMIT, LIMIT_PER_OWNER, LIMITED, QUEUE, Load
from faults.monkey import Monkey, Temper
from faults.proxy import Proxy
from faults.recovery import Recovery, recoveries
from faults.server import Server
from faults.stage import set_up
from faults.verdict import Verdict

DATABASE = "soak"
LOOK_INTERVAL = 0.1  # seconds between looks at the limits
COUNT_EVERY = 10  # looks
TELL_INTERVAL = 5.0  # seconds
DRAIN_PATIENCE = 180.0  # seconds
LONG_LIFE = 300.0  # seconds: a worker that lived so long tells whether memory grows
SERVER_SETTINGS = {
    "fsync": "on", "full_page_writes": "on", "autovacuum": "on", "max_connections": "100",
    "log_checkpoints": "off",
}  # fmt: skip
VENDOR = Behaviour(latency_ms=60, latency_sigma=0.5, rate_429=0.01, rate_500=0.01)

_COUNT: LiteralString = "SELECT status, count(*) FROM jobs WHERE parent_id IS NULL GROUP BY status"
_RUNNING: LiteralString = (
    "SELECT owner, count(*) FROM jobs WHERE status = 'running' AND queue = %s GROUP BY owner"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long, how much, how bad."""

    seconds: float
    seed: int
    workers: int = 4
    rate: float = 6.0
    """Jobs per second."""
    pace: float = 1.0
    """How long jobs take, compared with what is usual."""
    large_batch: int = 120
    """Threads of a batch that asks for hands."""
    lease_seconds: float = 5.0
    min_faults: int = 0
    """It goes on until so many have begun, however slow the machine is."""
    temper: Temper = field(default_factory=Temper)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a soak found."""

    options: Options
    verdict: Verdict
    recovery: Mapping[str, Recovery]
    faults: Counter[str]
    memory: list[dict[str, Any]]
    """Of workers that lived long."""
    calls_answered: int
    in_doubt: int
    drained_seconds: float
    died_at_start: int
    behind_bouncer: str | None

    @property
    def sound(self) -> bool:
        return not self.verdict.findings

    def as_json(self) -> dict[str, Any]:
        return {
            "sound": self.sound,
            "options": asdict(self.options),
            "summary": self.verdict.summary,
            "verdict": self.verdict.counts,
            "findings": [asdict(finding) for finding in self.verdict.findings],
            "faults": dict(self.faults),
            "recovery_seconds": {
                group: {
                    "in_line": found.in_line.as_json(),
                    "running": found.running.as_json(),
                }
                for group, found in self.recovery.items()
            },
            "calls": {"answered": self.calls_answered, "on_record": self.verdict.calls_on_record},
            "memory_kb": self.memory,
            "tables": self.verdict.tables,
            "answers_lost_to_clients": self.in_doubt,
            "drained_seconds": round(self.drained_seconds, 1),
            "died_at_start": self.died_at_start,
            "behind_bouncer": self.behind_bouncer,
        }


class Soak:
    """One soak, from an empty database to its outcome.

    Args:
        home: where Postgres, the workers' logs and the log of faults are kept.
    """

    def __init__(self, options: Options, home: Path, console: Console) -> None:
        self._options = options
        self._console = console
        self._home = home
        self._server = Server(home, **SERVER_SETTINGS)
        self._address = self._server.address(DATABASE)
        self._diary = Diary(path=home / "faults.jsonl")
        self._statuses: dict[str, int] = {}
        self._over_limit: list[str] = []
        self._began = time.monotonic()
        self._lasted = 0.0

    async def run(self) -> Outcome:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._running_server())
            vendor = await stack.enter_async_context(SimulatedServer(VENDOR))
            doorway = await stack.enter_async_context(Proxy(self._server.port).open())
            fleet = Fleet(self._home, {})
            await stack.enter_async_context(fleet.at_work())
            crew = Crew(fleet, self._diary, self._chance("crew"), self._environment(vendor.url))
            await stack.enter_async_context(
                crew.open(
                    self._server, DATABASE, self._home, self._options.workers, (QUEUE, LIMITED)
                )
            )
            for place in crew.places:
                await place.worker.ready()
            load = Load(
                self._address,
                doorway,
                self._server.address(DATABASE, port=doorway.port),
                self._chance("load"),
                rate=self._options.rate,
                pace=self._options.pace,
                large_batch=self._options.large_batch,
            )
            drained = await self._play(crew, load)
            return await self._judge(crew, load, vendor.simulation.stats, drained)

    async def _play(self, crew: Crew, load: Load) -> float:
        """Load and faults until the time is up, then quiet. Seconds until all was over."""
        monkey = Monkey(
            self._server, DATABASE, crew, self._diary, self._chance("faults"), self._options.temper
        )
        await load.prepare()
        stop = asyncio.Event()
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as side:
            onlookers = [
                side.create_task(self._look(load)),
                side.create_task(self._tell(load)),
                side.create_task(crew.tend()),
            ]
            async with asyncio.TaskGroup() as storm:
                storm.create_task(load.run(stop))
                storm.create_task(monkey.run(stop))
                storm.create_task(self._time(stop))
            quiet = time.monotonic()
            self._lasted = quiet - self._began
            while time.monotonic() - quiet < DRAIN_PATIENCE and await self._unfinished():
                await asyncio.sleep(LOOK_INTERVAL)
            drained = time.monotonic() - quiet
            for onlooker in onlookers:
                onlooker.cancel()
        return drained

    async def _judge(
        self, crew: Crew, load: Load, vendor: Mapping[str, Any], drained: float
    ) -> Outcome:
        found = await verdict.judge(
            self._address,
            load.promises,
            minutes=self._lasted / 60,
            oddities=[*crew.oddities, *crew.complaints()],
            over_limit=self._over_limit,
        )
        return Outcome(
            options=self._options,
            verdict=found,
            recovery=await recoveries(self._address, self._diary.faults),
            faults=Counter(str(fault.kind) for fault in self._diary.faults),
            memory=[
                {"worker": life.name, "seconds": round(life.age_seconds),
                 "settled": life.settled_kb, "last": life.last_kb}
                for life in crew.lives if life.age_seconds > LONG_LIFE
            ],
            calls_answered=vendor["by_status"].get("200", 0),
            in_doubt=load.in_doubt,
            drained_seconds=drained,
            died_at_start=crew.died_at_start,
            behind_bouncer=crew.behind_bouncer,
        )  # fmt: skip

    def _chance(self, whose: str) -> random.Random:
        return random.Random(f"{self._options.seed} {whose}")  # noqa: S311  to be drawn again

    def _environment(self, vendor_url: str) -> dict[str, str]:
        return {
            "EVALQUEUE_LEASE_SECONDS": str(self._options.lease_seconds),
            "EVALQUEUE_PATIENCE_SECONDS": "1",
            "EVALQUEUE_POOL_SIZE": "8",
            "EVALQUEUE_LLM_PROVIDER": "simulated",
            "EVALQUEUE_SIMULATED_URL": vendor_url,
        }

    @contextlib.asynccontextmanager
    async def _running_server(self) -> AsyncGenerator[None]:
        await self._server.start()
        try:
            async with await self._server.connect() as admin:
                await admin.execute(f"CREATE DATABASE {DATABASE}")
            database = Database(self._address)
            await database.open()
            await schema.migrate(database)
            await database.close()
            async with await self._server.connect(DATABASE) as connection:
                await set_up(connection)
            yield
        finally:
            await self._server.stop()

    async def _unfinished(self) -> bool:
        async with await self._server.connect(DATABASE) as connection:
            cursor = await connection.execute(
                "SELECT 1 FROM jobs WHERE completed_at IS NULL LIMIT 1"
            )
            return await cursor.fetchone() is not None

    async def _time(self, stop: asyncio.Event) -> None:
        """Say when it is time to stop."""
        await asyncio.sleep(self._options.seconds)
        while len(self._diary.faults) < self._options.min_faults:
            await asyncio.sleep(LOOK_INTERVAL)
        stop.set()

    async def _look(self, load: Load) -> None:
        """Watch the limits, count the jobs; through every outage, until cancelled."""
        while True:
            with contextlib.suppress(psycopg.Error):
                async with await self._server.connect(DATABASE) as connection:
                    while True:
                        for _ in range(COUNT_EVERY):
                            await self._look_at_limits(connection)
                            await asyncio.sleep(LOOK_INTERVAL)
                        counted = await connection.execute(_COUNT)
                        self._statuses = dict(await counted.fetchall())
                        load.backlog(sum(self._statuses.get(s, 0) for s in ("queued", "running")))
            await asyncio.sleep(LOOK_INTERVAL)

    async def _look_at_limits(self, connection: psycopg.AsyncConnection[Any]) -> None:
        cursor = await connection.execute(_RUNNING, [LIMITED])
        running = dict(await cursor.fetchall())
        if sum(running.values()) > LIMIT or max(running.values(), default=0) > LIMIT_PER_OWNER:
            self._over_limit.append(f"more than allowed ran in queue {LIMITED}: {running}")

    async def _tell(self, load: Load) -> None:
        """Say how it goes, until cancelled."""
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(TELL_INTERVAL)
                self._console.print(self._line(load), soft_wrap=True)
        with Live(console=self._console, transient=True) as live:
            while True:
                live.update(self._line(load))
                await asyncio.sleep(0.5)

    def _line(self, load: Load) -> str:
        elapsed = time.monotonic() - self._began
        left = max(0.0, self._options.seconds - elapsed)
        over = sum(self._statuses.get(s, 0) for s in ("completed", "failed", "cancelled"))
        return (
            f"{_clock(elapsed)} (then {_clock(left)})  "
            f"{len(load.promises.jobs)} submitted, {over} over, "
            f"{self._statuses.get('running', 0)} running, "
            f"{self._statuses.get('queued', 0)} queued, {len(self._diary.faults)} faults"
        )


def show(outcome: Outcome, console: Console) -> None:
    """The outcome, for people."""
    console.print(f"\n{outcome.verdict.summary}", soft_wrap=True)
    console.print(f"Faults: {', '.join(f'{n} × {k}' for k, n in outcome.faults.most_common())}")
    table = Table("verdict", "count")
    for name, count in outcome.verdict.counts.items():
        table.add_row(name, str(count))
    console.print(table)
    parts = ("p50", "p95", "p99", "max")
    table = Table(
        f"seconds after the fault (lease: {outcome.options.lease_seconds:g})", "until", "faults",
        *parts,
    )  # fmt: skip
    for group, found in outcome.recovery.items():
        for until, times in (("in line again", found.in_line), ("it runs", found.running)):
            told = times.as_json()
            table.add_row(group, until, str(told["count"]), *(_cell(told[part]) for part in parts))
    console.print(table)
    table = Table("table", "bytes", "rows", "dead rows")
    for size in outcome.verdict.tables:
        table.add_row(size["name"], *(f"{size[key]:,}" for key in ("bytes", "live", "dead")))
    console.print(table)
    for life in outcome.memory:
        console.print(
            f"{life['worker']} lived {_clock(life['seconds'])}: "
            f"{life['settled']} kB when settled, {life['last']} kB at the end"
        )
    console.print(
        f"LLM calls: {outcome.calls_answered} answered, {outcome.verdict.calls_on_record} on "
        f"record. Drained in {outcome.drained_seconds:.1f} s. PgBouncer in front of: "
        f"{outcome.behind_bouncer or 'nobody, since there is none here'}. Workers that met a fault "
        f"while they started, and ended: {outcome.died_at_start}."
    )
    for finding in outcome.verdict.findings:
        console.print(str(finding), soft_wrap=True, markup=False)
    console.print("Sound." if outcome.sound else "NOT SOUND.")


def _cell(value: float | None) -> str:
    return "–" if value is None else str(value)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None, help="what is drawn; told at the start")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=6.0, help="jobs per second")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the outcome, for machines")
    parser.add_argument("--home", type=Path, metavar="DIR", help="keep all logs here")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    options = Options(seconds=given.minutes * 60, seed=seed, workers=given.workers, rate=given.rate)
    console = Console()
    home = given.home or temporary_home("evalqueue-soak-")
    home.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=home / "soak.log", format="%(asctime)s %(name)s %(message)s")
    console.print(
        f"Soak of {given.minutes:g} minutes, --seed {seed}; logs and faults are in {home}"
    )
    # A SIGTERM is as a Ctrl-C: nobody is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = asyncio.run(Soak(options, home, console).run())
    show(outcome, console)
    if given.json is not None:
        text = json.dumps(outcome.as_json(), default=str, indent=1)
        given.json.write_text(text + "\n", encoding="utf-8")
    if outcome.sound and given.home is None:
        shutil.rmtree(home, ignore_errors=True)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
