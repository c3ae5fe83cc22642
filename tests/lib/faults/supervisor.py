"""Keeps a constant number of workers running: each has a slot with a proxy of its own, and a worker
that ends is replaced after a short delay.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from faults.bouncer import bouncer, find
from faults.fault_log import FaultLog, Kind
from faults.fleet import Fleet, Worker
from faults.proxy import NetworkState, Proxy
from faults.server import Server

LOOK_INTERVAL = 0.05  # seconds
MEMORY_INTERVAL = 5.0  # seconds
SETTLED_AGE = 30.0  # seconds, after which all is loaded and memory should stay constant
LEAVE_PATIENCE = 60.0  # seconds from SIGTERM
REPLACE_DELAY = (0.3, 2.0)  # seconds, at least and at most
POISONED = "poisoned"
CONCURRENCY = 6
GRACE = 5.0  # seconds


@dataclass(slots=True, kw_only=True)
class WorkerRun:
    """One worker process, from its start to its end."""

    name: str
    began: float = field(default_factory=time.monotonic)
    age_seconds: float = 0.0
    settled_kb: int | None = None
    """Resident memory at the age of `SETTLED_AGE`."""
    last_kb: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """What all workers of a slot have in common."""

    name: str
    address: str
    environment: Mapping[str, str]
    networks: tuple[Proxy, ...]
    queues: tuple[str, ...]
    killable: bool
    """False: no fault ends its worker, so that the memory of a long run is measured, too."""


@dataclass(slots=True, kw_only=True, eq=False)
class WorkerSlot:
    """A configuration and the worker that runs with it at the moment."""

    config: WorkerConfig
    worker: Worker
    run: WorkerRun
    busy: bool = False
    """A fault affects its worker at the moment."""
    generation: int = 0

    def set_network(self, state: NetworkState) -> None:
        for network in self.config.networks:
            network.state = state

    def set_delay(self, seconds: float) -> None:
        for network in self.config.networks:
            network.delay_seconds = seconds


class Supervisor:
    """Starts and replaces the workers of a soak test."""

    def __init__(
        self, fleet: Fleet, fault_log: FaultLog, rng: random.Random, environment: Mapping[str, str]
    ) -> None:
        self._fleet = fleet
        self._fault_log = fault_log
        self._rng = rng
        self._logs = fleet.logs
        self._environment = environment
        self._leaving: dict[str, tuple[Worker, float]] = {}
        self.slots: list[WorkerSlot] = []
        self.runs: list[WorkerRun] = []
        self.worker_errors: list[str] = []
        """Workers that ended on their own, or did not end after SIGTERM."""
        self.died_at_start = 0
        self.behind_bouncer: str | None = None

    @contextlib.asynccontextmanager
    async def open(
        self, server: Server, database: str, home: Path, count: int, queues: tuple[str, ...]
    ) -> AsyncGenerator["Supervisor"]:
        """Start `count` workers; the last one connects through PgBouncer, if it is installed."""
        async with contextlib.AsyncExitStack() as stack:
            pooled: int | None = None
            if find() is not None:
                pooled = await stack.enter_async_context(bouncer(home, server.port))
            for number in range(count):
                direct = await stack.enter_async_context(Proxy(server.port).open())
                networks, listening = (direct,), {}
                if pooled is not None and number == count - 1:
                    listening["EVALQUEUE_LISTEN_URL"] = server.address(database, port=direct.port)
                    direct = await stack.enter_async_context(Proxy(pooled).open())
                    networks = (direct, *networks)
                    self.behind_bouncer = f"w{number}"
                killable = number > 0
                self._add_slot(
                    WorkerConfig(
                        name=f"w{number}",
                        address=server.address(database, port=direct.port),
                        environment=listening,
                        networks=networks,
                        queues=(*queues, POISONED) if killable else queues,
                        killable=killable,
                    )
                )
            yield self

    def idle_slot(self, *, killable: bool) -> WorkerSlot | None:
        """A random slot whose worker runs and is affected by no fault."""
        candidates = [slot for slot in self.slots if not slot.busy and slot.worker.is_alive]
        candidates = [slot for slot in candidates if slot.config.killable or not killable]
        return self._rng.choice(candidates) if candidates else None

    def replace(self, slot: WorkerSlot) -> None:
        """Start a new worker in a slot. The previous one has ended, or was sent SIGTERM."""
        if slot.worker.is_alive:
            self._leaving[slot.run.name] = (slot.worker, time.monotonic())
        slot.generation += 1
        slot.worker, slot.run = self._start(slot.config, slot.generation)

    def asyncio_errors(self) -> list[str]:
        """Errors that asyncio logged in the workers, for exceptions that no code handled."""
        return [
            f"{log.stem}: {line}"
            for log in sorted(self._logs.glob("w*-*.log"))
            for line in log.read_text("utf-8", "replace").splitlines()
            if line.startswith("ERROR:asyncio")
        ]

    async def supervise(self) -> None:
        """Replace workers that ended, until cancelled."""
        measured_at = time.monotonic()
        async with asyncio.TaskGroup() as replacements:
            while True:
                for slot in self.slots:
                    if not slot.worker.is_alive and not slot.busy:
                        self._record_exit(slot)
                        slot.busy = True
                        replacements.create_task(self._replace_idle(slot))
                self._check_leaving()
                if time.monotonic() - measured_at > MEMORY_INTERVAL:
                    measured_at = time.monotonic()
                    self._measure_memory()
                await asyncio.sleep(LOOK_INTERVAL)

    async def replace_later(self, slot: WorkerSlot) -> None:
        """Start a new worker in a slot after a short delay."""
        await asyncio.sleep(self._rng.uniform(*REPLACE_DELAY))
        self.replace(slot)

    async def _replace_idle(self, slot: WorkerSlot) -> None:
        await self.replace_later(slot)
        slot.busy = False

    def _record_exit(self, slot: WorkerSlot) -> None:
        code = slot.worker.process.exitcode
        if code == -9:  # without a fault, only a job kills its worker
            self._fault_log.end(self._fault_log.begin(Kind.POISON, slot.run.name))
        elif "is ready: queues" not in slot.worker.log_text():
            self.died_at_start += 1
        else:
            self.worker_errors.append(f"{slot.run.name} ended on its own with exit code {code}")

    def _check_leaving(self) -> None:
        for name, (worker, since) in tuple(self._leaving.items()):
            if not worker.is_alive:
                code = worker.process.exitcode
                if code not in (0, 70, -9):
                    self.worker_errors.append(
                        f"{name} was sent SIGTERM and ended with exit code {code}"
                    )
                del self._leaving[name]
            elif time.monotonic() - since > LEAVE_PATIENCE:
                self.worker_errors.append(f"{name} still ran {LEAVE_PATIENCE:.0f} s after SIGTERM")
                worker.process.kill()
                del self._leaving[name]

    def _add_slot(self, config: WorkerConfig) -> None:
        worker, run = self._start(config, 0)
        self.slots.append(WorkerSlot(config=config, worker=worker, run=run))

    def _start(self, config: WorkerConfig, generation: int) -> tuple[Worker, WorkerRun]:
        run = WorkerRun(name=f"{config.name}-{generation}")
        worker = self._fleet.start(
            config.address,
            f"--concurrency={CONCURRENCY}",
            f"--queues={','.join(config.queues)}",
            f"--shutdown-graceful-timeout={GRACE}",
            name=run.name,
            **self._environment,
            **config.environment,
        )
        self.runs.append(run)
        return worker, run

    def _measure_memory(self) -> None:
        for slot in self.slots:
            run = slot.run
            with contextlib.suppress(OSError, ValueError, StopIteration):
                status = Path(f"/proc/{slot.worker.pid}/status").read_text()
                resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
                run.last_kb = int(resident.split()[1])
                run.age_seconds = time.monotonic() - run.began
                if run.settled_kb is None and run.age_seconds > SETTLED_AGE:
                    run.settled_kb = run.last_kb
