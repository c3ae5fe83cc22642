"""Injects a random fault every few seconds: into workers, Postgres, networks or statements.

The choice of faults depends on a seed alone, not what the system does at that moment.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import psycopg

from faults.fault_log import FaultLog, Kind
from faults.injector import STATES, inject
from faults.proxy import NetworkState
from faults.server import Server, Stopping
from faults.steps import STATEMENTS
from faults.supervisor import Supervisor, WorkerSlot

WEIGHTS: Mapping[Kind, int] = MappingProxyType(
    {
        Kind.KILL: 4,
        Kind.FREEZE: 3,
        Kind.TERMINATE: 2,
        Kind.TERMINATE_TWICE: 2,
        Kind.STOP_FAST: 1,
        Kind.STOP_IMMEDIATE: 1,
        Kind.SESSIONS: 1,
        Kind.LISTEN: 1,
        Kind.CUT: 2,
        Kind.SILENCE: 2,
        Kind.DELAY: 2,
        Kind.READ_ONLY: 1,
        Kind.CROWD: 1,
        Kind.SQLSTATE: 3,
    }
)
SHORT_SECONDS = 2.0  # seconds that the server is read-only, or full
REFUSED_JOBS = 6
REFUSED_SECONDS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultTiming:
    """Ranges of seconds: between two faults, and of the faults' durations."""

    every: tuple[float, float] = (2.0, 6.0)
    freeze: tuple[float, float] = (1.0, 15.0)
    outage: tuple[float, float] = (1.0, 8.0)
    network: tuple[float, float] = (1.0, 10.0)


class ChaosMonkey:
    """Injects faults, and ends each of them before it stops."""

    def __init__(
        self,
        server: Server,
        database: str,
        supervisor: Supervisor,
        fault_log: FaultLog,
        rng: random.Random,
        timing: FaultTiming,
    ) -> None:
        self._server = server
        self._database = database
        self._supervisor = supervisor
        self._fault_log = fault_log
        self._rng = rng
        self._timing = timing
        self._server_is_busy = False
        self._at_worker: dict[Kind, Callable[[WorkerSlot], Awaitable[None]]] = {
            Kind.KILL: self._kill,
            Kind.FREEZE: self._freeze,
            Kind.TERMINATE: self._terminate,
            Kind.TERMINATE_TWICE: self._terminate_twice,
            Kind.CUT: self._cut,
            Kind.SILENCE: self._silence,
            Kind.DELAY: self._delay,
        }
        self._at_server: dict[Kind, Callable[[], Awaitable[None]]] = {
            Kind.STOP_FAST: self._stop_fast,
            Kind.STOP_IMMEDIATE: self._stop_immediate,
            Kind.SESSIONS: self._end_sessions,
            Kind.LISTEN: self._end_listen,
            Kind.READ_ONLY: self._read_only,
            Kind.CROWD: self._crowd,
            Kind.SQLSTATE: self._refuse_statements,
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Inject faults until `stop` is set; return once all have ended."""
        async with asyncio.TaskGroup() as faults:
            while not stop.is_set():
                (kind,) = self._rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
                if kind in self._at_worker:
                    faults.create_task(self._disturb_worker(kind))
                else:
                    faults.create_task(self._disturb_server(kind))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._rng.uniform(*self._timing.every)):
                        await stop.wait()

    async def _disturb_worker(self, kind: Kind) -> None:
        ends_worker = kind in (Kind.KILL, Kind.TERMINATE, Kind.TERMINATE_TWICE)
        slot = self._supervisor.idle_slot(killable=ends_worker)
        if slot is None:
            return
        slot.busy = True
        try:
            fault = self._fault_log.begin(kind, slot.run.name)
            await self._at_worker[kind](slot)
            self._fault_log.end(fault)
            if ends_worker:
                await self._supervisor.replace_later(slot)
        finally:
            slot.busy = False

    async def _disturb_server(self, kind: Kind) -> None:
        if self._server_is_busy:
            return
        self._server_is_busy = True
        try:
            fault = self._fault_log.begin(kind)
            await self._at_server[kind]()
            self._fault_log.end(fault)
        finally:
            self._server_is_busy = False

    async def _kill(self, slot: WorkerSlot) -> None:
        await slot.worker.kill()

    async def _freeze(self, slot: WorkerSlot) -> None:
        slot.worker.freeze()
        try:
            await asyncio.sleep(self._rng.uniform(*self._timing.freeze))
        finally:
            slot.worker.thaw()

    async def _terminate(self, slot: WorkerSlot) -> None:
        slot.worker.terminate()

    async def _terminate_twice(self, slot: WorkerSlot) -> None:
        slot.worker.terminate()
        await asyncio.sleep(self._rng.uniform(0.05, 1.0))
        if slot.worker.is_alive:
            slot.worker.terminate()

    async def _cut(self, slot: WorkerSlot) -> None:
        await self._set_network(slot, NetworkState.CUT)

    async def _silence(self, slot: WorkerSlot) -> None:
        await self._set_network(slot, NetworkState.SILENT)

    async def _set_network(self, slot: WorkerSlot, state: NetworkState) -> None:
        slot.set_network(state)
        try:
            await asyncio.sleep(self._rng.uniform(*self._timing.network))
        finally:
            slot.set_network(NetworkState.NORMAL)

    async def _delay(self, slot: WorkerSlot) -> None:
        slot.set_delay(self._rng.uniform(0.01, 0.2))
        try:
            await asyncio.sleep(self._rng.uniform(*self._timing.network))
        finally:
            slot.set_delay(0.0)

    async def _stop_fast(self) -> None:
        await self._outage(Stopping.FAST)

    async def _stop_immediate(self) -> None:
        await self._outage(Stopping.IMMEDIATE)

    async def _outage(self, how: Stopping) -> None:
        async with self._server.outage(how):
            await asyncio.sleep(self._rng.uniform(*self._timing.outage))

    async def _end_sessions(self) -> None:
        await self._server.terminate_backends(database=self._database)

    async def _end_listen(self) -> None:
        await self._server.terminate_backends(database=self._database, query="LISTEN%")

    async def _read_only(self) -> None:
        async with self._server.read_only():
            await asyncio.sleep(SHORT_SECONDS)

    async def _crowd(self) -> None:
        async with await self._server.connect() as killer:
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [self._database],
            )
            async with self._server.crowd():
                await asyncio.sleep(SHORT_SECONDS)

    async def _refuse_statements(self) -> None:
        """Let a statement of some jobs fail once or a few times."""
        async with await self._server.connect(self._database) as connection:
            cursor = await connection.execute(
                "SELECT id FROM jobs WHERE completed_at IS NULL AND job_type = 'fault-steps' "
                "AND to_regclass('faults.left_' || replace(id::text, '-', '')) IS NULL "
                "ORDER BY random() LIMIT %s",
                [REFUSED_JOBS],
            )
            for (job_id,) in await cursor.fetchall():
                await inject(
                    connection,
                    job_id,
                    statement=STATEMENTS[self._rng.choice(["claim", "store", "flush", "finish"])],
                    sqlstate=self._rng.choice(list(STATES)),
                    times=self._rng.randint(1, 3),
                )
        await asyncio.sleep(REFUSED_SECONDS)
        with contextlib.suppress(psycopg.Error):  # what is left does no harm
            async with await self._server.connect(self._database) as connection:
                await connection.execute("TRUNCATE faults.injections")
