"""A fleet that is kept at strength: each worker has a place with a network of its own, and whoever
is gone is replaced after a moment.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from faults.bouncer import bouncer, find
from faults.diary import Diary, Kind
from faults.fleet import Fleet, Worker
from faults.proxy import Proxy, Weather
from faults.server import Server

LOOK_INTERVAL = 0.05  # seconds
WEIGH_INTERVAL = 5.0  # seconds
SETTLED_AGE = 30.0  # seconds; then everything is loaded, and memory that grows is a leak
LEAVE_PATIENCE = 60.0  # seconds from SIGTERM
REPLACED_AFTER = (0.3, 2.0)  # seconds
POISONED = "poisoned"
SLOTS = 6
GRACE = 5.0  # seconds


@dataclass(slots=True, kw_only=True)
class Life:
    """One worker process, from its start."""

    name: str
    began: float = field(default_factory=time.monotonic)
    age_seconds: float = 0.0
    settled_kb: int | None = None
    """Resident memory once it was settled."""
    last_kb: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What is the same for everybody who works at a place."""

    name: str
    address: str
    environment: Mapping[str, str]
    networks: tuple[Proxy, ...]
    queues: tuple[str, ...]
    mortal: bool
    """False: nobody is ended there on purpose, so that a long life is seen, too."""


@dataclass(slots=True, kw_only=True, eq=False)
class Place:
    """Where a worker works, and who does at the moment."""

    post: Post
    worker: Worker
    life: Life
    busy: bool = False
    """A fault is at it."""
    generation: int = 0

    def weather(self, weather: Weather) -> None:
        for network in self.post.networks:
            network.weather = weather

    def delay(self, seconds: float) -> None:
        for network in self.post.networks:
            network.delay_seconds = seconds


class Crew:
    """The workers of a soak."""

    def __init__(
        self, fleet: Fleet, diary: Diary, chance: random.Random, environment: Mapping[str, str]
    ) -> None:
        self._fleet = fleet
        self._diary = diary
        self._chance = chance
        self._logs = fleet.logs
        self._environment = environment
        self._leaving: dict[str, tuple[Worker, float]] = {}
        self.places: list[Place] = []
        self.lives: list[Life] = []
        self.oddities: list[str] = []
        """What a worker must not do: die of itself, or not go when told."""
        self.died_at_start = 0
        self.behind_bouncer: str | None = None

    @contextlib.asynccontextmanager
    async def open(
        self, server: Server, database: str, home: Path, count: int, queues: tuple[str, ...]
    ) -> AsyncGenerator["Crew"]:
        """So many workers; the last one says its statements through PgBouncer, if there is one."""
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
                mortal = number > 0
                self._settle(
                    Post(
                        name=f"w{number}",
                        address=server.address(database, port=direct.port),
                        environment=listening,
                        networks=networks,
                        queues=(*queues, POISONED) if mortal else queues,
                        mortal=mortal,
                    )
                )
            yield self

    def idle(self, *, mortal: bool) -> Place | None:
        """A place whose worker lives and that no fault is at."""
        some = [p for p in self.places if not p.busy and p.worker.is_alive]
        some = [p for p in some if p.post.mortal or not mortal]
        return self._chance.choice(some) if some else None

    def replace(self, place: Place) -> None:
        """Somebody else works there from now on; whoever did is told to stop, or gone."""
        if place.worker.is_alive:
            self._leaving[place.life.name] = (place.worker, time.monotonic())
        place.generation += 1
        place.worker, place.life = self._hire(place.post, place.generation)

    def complaints(self) -> list[str]:
        """What asyncio said of the workers' tasks: nobody should have left that to it."""
        return [
            f"{log.stem}: {line}"
            for log in sorted(self._logs.glob("w*-*.log"))
            for line in log.read_text("utf-8", "replace").splitlines()
            if line.startswith("ERROR:asyncio")
        ]

    async def tend(self) -> None:
        """See to it, until cancelled, that every place has a worker."""
        weighed = time.monotonic()
        async with asyncio.TaskGroup() as replacements:
            while True:
                for place in self.places:
                    if not place.worker.is_alive and not place.busy:
                        self._found_dead(place)
                        place.busy = True
                        replacements.create_task(self._later(place))
                self._see_off()
                if time.monotonic() - weighed > WEIGH_INTERVAL:
                    weighed = time.monotonic()
                    self._weigh()
                await asyncio.sleep(LOOK_INTERVAL)

    async def gone(self, place: Place) -> None:
        """After its worker is gone: a moment, then somebody else."""
        await asyncio.sleep(self._chance.uniform(*REPLACED_AFTER))
        self.replace(place)

    async def _later(self, place: Place) -> None:
        await self.gone(place)
        place.busy = False

    def _found_dead(self, place: Place) -> None:
        code = place.worker.process.exitcode
        if code == -9:  # nobody but its job does that to a place where no fault is at work
            self._diary.ends(self._diary.begins(Kind.POISON, place.life.name))
        elif "is ready: queues" not in place.worker.told():
            self.died_at_start += 1
        else:
            self.oddities.append(f"{place.life.name} ended of itself with exit code {code}")

    def _see_off(self) -> None:
        for name, (worker, since) in tuple(self._leaving.items()):
            if not worker.is_alive:
                code = worker.process.exitcode
                if code not in (0, 70, -9):
                    self.oddities.append(f"{name}, told to stop, ended with exit code {code}")
                del self._leaving[name]
            elif time.monotonic() - since > LEAVE_PATIENCE:
                self.oddities.append(f"{name} still ran {LEAVE_PATIENCE:.0f} s after SIGTERM")
                worker.process.kill()
                del self._leaving[name]

    def _settle(self, post: Post) -> None:
        worker, life = self._hire(post, 0)
        self.places.append(Place(post=post, worker=worker, life=life))

    def _hire(self, post: Post, generation: int) -> tuple[Worker, Life]:
        life = Life(name=f"{post.name}-{generation}")
        worker = self._fleet.start(
            post.address,
            f"--concurrency={SLOTS}",
            f"--queues={','.join(post.queues)}",
            f"--shutdown-graceful-timeout={GRACE}",
            name=life.name,
            **self._environment,
            **post.environment,
        )
        self.lives.append(life)
        return worker, life

    def _weigh(self) -> None:
        for place in self.places:
            life = place.life
            with contextlib.suppress(OSError, ValueError):
                status = Path(f"/proc/{place.worker.pid}/status").read_text()
                resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
                life.last_kb = int(resident.split()[1])
                life.age_seconds = time.monotonic() - life.began
                if life.settled_kb is None and life.age_seconds > SETTLED_AGE:
                    life.settled_kb = life.last_kb
