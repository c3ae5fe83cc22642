"""`./run soak`: a soak test of workers under load and faults, and a report of what was found.

It uses a Postgres with fsync on, worker processes behind proxies (one of them behind PgBouncer),
and a simulated vendor that speaks HTTP. Faults and submissions are drawn from a seed.
Exit code 0: no findings; 1: findings.
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
from faults.chaos_monkey import ChaosMonkey, FaultTiming
from faults.deployment import create_tables
from faults.fault_log import FaultLog
from faults.fleet import Fleet
from faults.load import LIMIT, LIMIT_PER_OWNER, LIMITED, QUEUE, Load
from faults.proxy import Proxy
from faults.recovery import Recovery, recoveries
from faults.server import Server
from faults.supervisor import Supervisor
from faults.verdict import Verdict

DATABASE = "soak"
LOOK_INTERVAL = 0.1  # seconds between looks at the limits
COUNT_EVERY = 10  # looks
REPORT_INTERVAL = 5.0  # seconds
DRAIN_PATIENCE = 180.0  # seconds
LONG_RUN = 300.0  # seconds: the memory of workers that ran so long is reported
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
    """The options of a soak test."""

    seconds: float
    seed: int
    workers: int = 4
    rate: float = 6.0
    """Jobs per second."""
    pace: float = 1.0
    """A factor for the durations of jobs."""
    large_batch: int = 120
    """Threads of a batch that starts helper jobs."""
    lease_seconds: float = 5.0
    min_faults: int = 0
    """The test goes on until so many faults have begun, also on a slow machine."""
    timing: FaultTiming = field(default_factory=FaultTiming)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a soak test."""

    options: Options
    verdict: Verdict
    recovery: Mapping[str, Recovery]
    faults: Counter[str]
    memory: list[dict[str, Any]]
    """Resident memory of the workers that ran longest."""
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
                    "queued": times.queued.as_json(),
                    "running": times.running.as_json(),
                }
                for group, times in self.recovery.items()
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
    """One soak test, from an empty database to its outcome.

    Args:
        home: where Postgres, the workers' logs and the log of faults are stored.
    """

    def __init__(self, options: Options, home: Path, console: Console) -> None:
        self._options = options
        self._console = console
        self._home = home
        self._server = Server(home, **SERVER_SETTINGS)
        self._address = self._server.address(DATABASE)
        self._fault_log = FaultLog(path=home / "faults.jsonl")
        self._statuses: dict[str, int] = {}
        self._over_limit: list[str] = []
        self._began = time.monotonic()
        self._lasted = 0.0

    async def run(self) -> Outcome:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._running_server())
            vendor = await stack.enter_async_context(SimulatedServer(VENDOR))
            flaky_network = await stack.enter_async_context(Proxy(self._server.port).open())
            fleet = Fleet(self._home, {})
            await stack.enter_async_context(fleet.running())
            supervisor = Supervisor(
                fleet, self._fault_log, self._rng("supervisor"), self._environment(vendor.url)
            )
            await stack.enter_async_context(
                supervisor.open(
                    self._server, DATABASE, self._home, self._options.workers, (QUEUE, LIMITED)
                )
            )
            for slot in supervisor.slots:
                await slot.worker.ready()
            load = Load(
                self._address,
                flaky_network,
                self._server.address(DATABASE, port=flaky_network.port),
                self._rng("load"),
                rate=self._options.rate,
                pace=self._options.pace,
                large_batch=self._options.large_batch,
            )
            drained = await self._run_load(supervisor, load)
            return await self._judge(supervisor, load, vendor.simulation.stats, drained)

    async def _run_load(self, supervisor: Supervisor, load: Load) -> float:
        """Run load and faults until the time is up, then drain; returns the drain time (s)."""
        monkey = ChaosMonkey(
            self._server,
            DATABASE,
            supervisor,
            self._fault_log,
            self._rng("faults"),
            self._options.timing,
        )
        await load.prepare()
        stop = asyncio.Event()
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            observers = [
                tasks.create_task(self._watch_jobs(load)),
                tasks.create_task(self._report(load)),
                tasks.create_task(supervisor.supervise()),
            ]
            async with asyncio.TaskGroup() as load_and_faults:
                load_and_faults.create_task(load.run(stop))
                load_and_faults.create_task(monkey.run(stop))
                load_and_faults.create_task(self._time(stop))
            stopped_at = time.monotonic()
            self._lasted = stopped_at - self._began
            while time.monotonic() - stopped_at < DRAIN_PATIENCE and await self._unfinished():
                await asyncio.sleep(LOOK_INTERVAL)
            drained = time.monotonic() - stopped_at
            for observer in observers:
                observer.cancel()
        return drained

    async def _judge(
        self, supervisor: Supervisor, load: Load, vendor: Mapping[str, Any], drained: float
    ) -> Outcome:
        judged = await verdict.judge(
            self._address,
            load.promises,
            minutes=self._lasted / 60,
            worker_errors=[*supervisor.worker_errors, *supervisor.asyncio_errors()],
            over_limit=self._over_limit,
        )
        return Outcome(
            options=self._options,
            verdict=judged,
            recovery=await recoveries(self._address, self._fault_log.faults),
            faults=Counter(str(fault.kind) for fault in self._fault_log.faults),
            memory=[
                {"worker": run.name, "seconds": round(run.age_seconds),
                 "settled": run.settled_kb, "last": run.last_kb}
                for run in supervisor.runs if run.age_seconds > LONG_RUN
            ],
            calls_answered=vendor["by_status"].get("200", 0),
            in_doubt=load.in_doubt,
            drained_seconds=drained,
            died_at_start=supervisor.died_at_start,
            behind_bouncer=supervisor.behind_bouncer,
        )  # fmt: skip

    def _rng(self, name: str) -> random.Random:
        return random.Random(f"{self._options.seed} {name}")  # noqa: S311  reproducible

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
                await create_tables(connection)
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
        """Set `stop` when the time is up."""
        await asyncio.sleep(self._options.seconds)
        while len(self._fault_log.faults) < self._options.min_faults:
            await asyncio.sleep(LOOK_INTERVAL)
        stop.set()

    async def _watch_jobs(self, load: Load) -> None:
        """Check the limits and count the jobs until cancelled; reconnects after outages."""
        while True:
            with contextlib.suppress(psycopg.Error):
                async with await self._server.connect(DATABASE) as connection:
                    while True:
                        for _ in range(COUNT_EVERY):
                            await self._check_limits(connection)
                            await asyncio.sleep(LOOK_INTERVAL)
                        counted = await connection.execute(_COUNT)
                        self._statuses = dict(await counted.fetchall())
                        load.set_unfinished(
                            sum(self._statuses.get(s, 0) for s in ("queued", "running"))
                        )
            await asyncio.sleep(LOOK_INTERVAL)

    async def _check_limits(self, connection: psycopg.AsyncConnection[Any]) -> None:
        cursor = await connection.execute(_RUNNING, [LIMITED])
        running = dict(await cursor.fetchall())
        if sum(running.values()) > LIMIT or max(running.values(), default=0) > LIMIT_PER_OWNER:
            self._over_limit.append(f"more than allowed ran in queue {LIMITED}: {running}")

    async def _report(self, load: Load) -> None:
        """Print the progress until cancelled."""
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(REPORT_INTERVAL)
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
            f"{_clock(elapsed)} ({_clock(left)} left)  "
            f"{len(load.promises.jobs)} submitted, {over} over, "
            f"{self._statuses.get('running', 0)} running, "
            f"{self._statuses.get('queued', 0)} queued, {len(self._fault_log.faults)} faults"
        )


def show(outcome: Outcome, console: Console) -> None:
    """Print the outcome."""
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
    for group, times in outcome.recovery.items():
        for until, durations in (("queued again", times.queued), ("it runs", times.running)):
            row = durations.as_json()
            table.add_row(group, until, str(row["count"]), *(_cell(row[part]) for part in parts))
    console.print(table)
    table = Table("table", "bytes", "rows", "dead rows")
    for size in outcome.verdict.tables:
        table.add_row(size["name"], *(f"{size[key]:,}" for key in ("bytes", "live", "dead")))
    console.print(table)
    for run in outcome.memory:
        console.print(
            f"{run['worker']} ran {_clock(run['seconds'])}: "
            f"{run['settled']} kB when settled, {run['last']} kB at the end"
        )
    console.print(
        f"LLM calls: {outcome.calls_answered} answered, {outcome.verdict.calls_on_record} on "
        f"record. Drained in {outcome.drained_seconds:.1f} s. PgBouncer in front of: "
        f"{outcome.behind_bouncer or 'no worker, because it is not installed'}. Workers that ended "
        f"because of a fault while they started: {outcome.died_at_start}."
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
    parser.add_argument(
        "--seed", type=int, default=None, help="of all random choices; printed at the start"
    )
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=6.0, help="jobs per second")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcome as JSON")
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
    # A SIGTERM stops the child processes, as Ctrl-C does.
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
