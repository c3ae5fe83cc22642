"""Breaks something every few seconds: workers, Postgres, networks, statements. What it picks is
drawn from a seed; what it meets is not.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import psycopg

from faults.crew import Crew, Place
from faults.diary import Diary, Kind
from faults.injector import STATES, inject
from faults.proxy import Weather
from faults.server import Server, Stopping
from faults.steps import STATEMENTS

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
FLEETING = 2.0  # seconds that the server is read-only, or full
REFUSED_JOBS = 6
REFUSED_SECONDS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Temper:
    """How often, and how long."""

    every: tuple[float, float] = (2.0, 6.0)
    freeze: tuple[float, float] = (1.0, 15.0)
    outage: tuple[float, float] = (1.0, 8.0)
    weather: tuple[float, float] = (1.0, 10.0)


class Monkey:
    """Breaks things until cancelled; whatever it had broken is whole again then."""

    def __init__(
        self,
        server: Server,
        database: str,
        crew: Crew,
        diary: Diary,
        chance: random.Random,
        temper: Temper,
    ) -> None:
        self._server = server
        self._database = database
        self._crew = crew
        self._diary = diary
        self._chance = chance
        self._temper = temper
        self._server_is_busy = False
        self._at_worker: dict[Kind, Callable[[Place], Awaitable[None]]] = {
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

    async def run(self, until: asyncio.Event) -> None:
        """Break something every few seconds; return when told, and all is whole again."""
        async with asyncio.TaskGroup() as faults:
            while not until.is_set():
                (kind,) = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
                if kind in self._at_worker:
                    faults.create_task(self._break_worker(kind))
                else:
                    faults.create_task(self._break_server(kind))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._chance.uniform(*self._temper.every)):
                        await until.wait()

    async def _break_worker(self, kind: Kind) -> None:
        deadly = kind in (Kind.KILL, Kind.TERMINATE, Kind.TERMINATE_TWICE)
        place = self._crew.idle(mortal=deadly)
        if place is None:
            return
        place.busy = True
        try:
            fault = self._diary.begins(kind, place.life.name)
            await self._at_worker[kind](place)
            self._diary.ends(fault)
            if deadly:
                await self._crew.gone(place)
        finally:
            place.busy = False

    async def _break_server(self, kind: Kind) -> None:
        if self._server_is_busy:
            return
        self._server_is_busy = True
        try:
            fault = self._diary.begins(kind)
            await self._at_server[kind]()
            self._diary.ends(fault)
        finally:
            self._server_is_busy = False

    async def _kill(self, place: Place) -> None:
        await place.worker.kill()

    async def _freeze(self, place: Place) -> None:
        place.worker.freeze()
        try:
            await asyncio.sleep(self._chance.uniform(*self._temper.freeze))
        finally:
            place.worker.thaw()

    async def _terminate(self, place: Place) -> None:
        place.worker.terminate()

    async def _terminate_twice(self, place: Place) -> None:
        place.worker.terminate()
        await asyncio.sleep(self._chance.uniform(0.05, 1.0))
        if place.worker.is_alive:
            place.worker.terminate()

    async def _cut(self, place: Place) -> None:
        await self._weather(place, Weather.CUT)

    async def _silence(self, place: Place) -> None:
        await self._weather(place, Weather.SILENT)

    async def _weather(self, place: Place, weather: Weather) -> None:
        place.weather(weather)
        try:
            await asyncio.sleep(self._chance.uniform(*self._temper.weather))
        finally:
            place.weather(Weather.FAIR)

    async def _delay(self, place: Place) -> None:
        place.delay(self._chance.uniform(0.01, 0.2))
        try:
            await asyncio.sleep(self._chance.uniform(*self._temper.weather))
        finally:
            place.delay(0.0)

    async def _stop_fast(self) -> None:
        await self._outage(Stopping.FAST)

    async def _stop_immediate(self) -> None:
        await self._outage(Stopping.IMMEDIATE)

    async def _outage(self, how: Stopping) -> None:
        async with self._server.outage(how):
            await asyncio.sleep(self._chance.uniform(*self._temper.outage))

    async def _end_sessions(self) -> None:
        await self._server.terminate_backends(database=self._database)

    async def _end_listen(self) -> None:
        await self._server.terminate_backends(database=self._database, query="LISTEN%")

    async def _read_only(self) -> None:
        async with self._server.read_only():
            await asyncio.sleep(FLEETING)

    async def _crowd(self) -> None:
        async with await self._server.connect() as killer:
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [self._database],
            )
            async with self._server.crowd():
                await asyncio.sleep(FLEETING)

    async def _refuse_statements(self) -> None:
        """Some jobs meet an error of the server at a statement of theirs, once or a few times."""
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
                    statement=STATEMENTS[self._chance.choice(["claim", "keep", "flush", "finish"])],
                    sqlstate=self._chance.choice(list(STATES)),
                    times=self._chance.randint(1, 3),
                )
        await asyncio.sleep(REFUSED_SECONDS)
        with contextlib.suppress(psycopg.Error):  # they are few, and harmless if they stay
            async with await self._server.connect(self._database) as connection:
                await connection.execute("TRUNCATE faults.injections")
