"""Work for a soak: services that submit, change their minds, ask twice, and remember what they were
promised.
"""

import asyncio
import contextlib
import csv
import io
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg

from evalqueue import Client, Job, JobParams, NotCancellable, NotRetryable
from evalqueue.errors import EvalqueueError, InvalidParams, JobNotFound
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.simulated.conversations import kaira_csv
from evalqueue.postgres import schedules
from evalqueue.postgres.database import TRANSIENT
from evalqueue.postgres.schedules import Schedule
from faults.crew import POISONED
from faults.diary import now
from faults.proxy import Proxy
from faults.work import Manner, Steps

OWNERS = ("ada", "berta", "clara", "dora", "emil")
QUEUE, LIMITED = "evalqueue", "limited"
LIMIT, LIMIT_PER_OWNER = 3, 2
CLOCK = "clock"
"""Who owns what the schedule submits."""
ENOUGH = 250  # jobs that are not over: until there are fewer, nobody submits more
MANY_ATTEMPTS = 50  # so that no fault of ours uses them up: what fails then, failed of itself
FEW_ATTEMPTS = 3  # of what harms its worker, or never gets done
AGAIN_DELAY = 0.2  # seconds
SHARED = 60  # items
LOST_ANSWERS = 0.5  # of what comes with a key


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """What the services were told."""

    jobs: set[UUID] = field(default_factory=set)
    cancelled: set[UUID] = field(default_factory=set)
    perhaps_cancelled: set[UUID] = field(default_factory=set)
    """Those, and where the answer was lost or another one."""
    retried: dict[UUID, UUID] = field(default_factory=dict)
    keys: dict[str, set[UUID]] = field(default_factory=dict)
    """Each idempotency key with every id that was ever answered to it."""
    followers: dict[UUID, UUID] = field(default_factory=dict)
    """Jobs with the one that they were to start after."""
    broken: list[str] = field(default_factory=list)
    """What was answered and must not be."""


class Load:
    """Services at work, until told to stop.

    Args:
        doorway: a network that some of them use, and that is cut under their hands.
        rate: jobs per second.
        pace: how long jobs take, compared with what is usual.
        large_batch: threads of a batch that asks for hands.
    """

    def __init__(
        self,
        address: str,
        doorway: Proxy,
        behind_doorway: str,
        chance: random.Random,
        *,
        rate: float,
        pace: float,
        large_batch: int,
    ) -> None:
        self._steady = Client(address)
        self._unlucky = Client(behind_doorway)
        self._doorway = doorway
        self._chance = chance
        self._rate = rate
        self._pace = pace
        self._recent: deque[UUID] = deque(maxlen=400)
        self._large_batch = large_batch
        self._conversations = _renamed(3)
        self._unfinished = 0
        self._stopping = asyncio.Event()
        self.promises = Promises()
        self.in_doubt = 0
        """Requests whose answer was lost, and that nobody sent again."""

    async def run(self, stop: asyncio.Event) -> None:
        """Submit, cancel, retry until told to stop; `prepare` comes first."""
        self._stopping = stop
        try:
            async with asyncio.TaskGroup() as services:
                for deed, per_second in (
                    (self._submit, self._rate),
                    (self._cancel, self._rate / 8),
                    (self._retry, self._rate / 12),
                    (self._pause, 1 / 20),
                    (self._evaluate, 1 / 8),
                    (self._evaluate_many, 1 / 50),
                ):
                    services.create_task(self._again_and_again(deed, per_second, stop))
        finally:
            await self._wind_up()
            await self._steady.aclose()
            await self._unlucky.aclose()

    async def prepare(self) -> None:
        """A queue with limits, a schedule."""
        async with (await self._steady.database()).connection() as connection:
            await connection.execute(
                "INSERT INTO job_queues (name, max_running, max_running_per_owner) "
                "VALUES (%s, %s, %s)",
                [LIMITED, LIMIT, LIMIT_PER_OWNER],
            )
            await schedules.put(
                connection,
                Schedule(
                    name=CLOCK, cron="* * * * *", timezone="UTC", job_type=Steps.job_type,
                    params=Steps(items=2).stored(), owner=CLOCK, queue=QUEUE, priority=1,
                    max_attempts=MANY_ATTEMPTS,
                    next_at=schedules.next_time("* * * * *", "UTC", now()),
                ),
            )  # fmt: skip

    async def _wind_up(self) -> None:
        """Nothing more comes, and nothing is held back."""

        async def settle(connection: psycopg.AsyncConnection[Any]) -> None:
            await connection.execute("UPDATE job_queues SET paused_at = NULL")
            await connection.execute("SELECT pg_notify('evalqueue_work_v1', %s)", [LIMITED])
            await schedules.remove(connection, CLOCK)

        await (await self._steady.database()).until_done(settle, what="The end of the load")

    async def _again_and_again(
        self, deed: Callable[[], Awaitable[None]], per_second: float, stop: asyncio.Event
    ) -> None:
        """Do something at random moments, whatever Postgres does meanwhile."""
        async with asyncio.TaskGroup() as doing:
            while not stop.is_set():
                doing.create_task(self._bravely(deed))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._chance.expovariate(per_second)):
                        await stop.wait()

    async def _bravely(self, deed: Callable[[], Awaitable[None]]) -> None:
        try:
            await deed()
        except TRANSIENT:
            self.in_doubt += 1
        except EvalqueueError as error:
            self.promises.broken.append(f"{deed.__name__}: {type(error).__name__}: {error}")

    def backlog(self, unfinished: int) -> None:
        """How many jobs are not over."""
        self._unfinished = unfinished

    async def _submit(self) -> None:
        if self._unfinished > ENOUGH:
            return
        params, how = self._anything(), self._somehow()
        how["max_attempts"] = FEW_ATTEMPTS if _is_dangerous(params) else MANY_ATTEMPTS
        if params.kills_its_worker:
            how["queue"] = POISONED
        draw = self._chance.random()
        if draw < 0.2:
            await self._submit_with_a_key(params, how)
        elif draw < 0.25 and self._recent:
            await self._submit_after(params, how, self._chance.choice(self._recent))
        else:
            self._promised(await self._steady.submit(params, **how))

    def _promised(self, job: Job) -> Job:
        self.promises.jobs.add(job.id)
        self._recent.append(job.id)
        return job

    async def _submit_with_a_key(self, params: JobParams, how: dict[str, Any]) -> None:
        """Sent until it is answered, and once more for good measure."""
        key = uuid4().hex
        ids = self.promises.keys.setdefault(key, set())
        cut: asyncio.TimerHandle | None = None
        while True:
            if not self._stopping.is_set() and self._chance.random() < LOST_ANSWERS:
                moment = self._chance.uniform(0.0, 0.02)
                cut = asyncio.get_running_loop().call_later(moment, self._doorway.reset_all)
            try:
                job = await self._unlucky.submit(params, **how, idempotency_key=key)
            except TRANSIENT:
                await asyncio.sleep(AGAIN_DELAY)
                continue
            finally:
                if cut is not None:
                    cut.cancel()
            ids.add(self._promised(job).id)
            if self._chance.random() < LOST_ANSWERS:
                return

    async def _submit_after(self, params: JobParams, how: dict[str, Any], before: UUID) -> None:
        try:
            job = await self._steady.submit(params, **how, after=before)
        except InvalidParams:  # that one failed, or was cancelled
            return
        self.promises.followers[self._promised(job).id] = before

    async def _cancel(self) -> None:
        if not self._recent:
            return
        job_id = self._chance.choice(self._recent)
        self.promises.perhaps_cancelled.add(job_id)
        with contextlib.suppress(NotCancellable):
            await self._steady.cancel(job_id)
            self.promises.cancelled.add(job_id)

    async def _retry(self) -> None:
        """Two services at once go on with the same job."""
        async with (await self._steady.database()).connection() as connection:
            cursor = await connection.execute(
                "SELECT id FROM jobs WHERE status IN ('failed', 'cancelled') AND parent_id IS NULL "
                "AND id NOT IN (SELECT retry_of FROM jobs WHERE retry_of IS NOT NULL) "
                "AND completed_at > clock_timestamp() - interval '1 minute' "
                "AND queue <> %s LIMIT 20",
                [POISONED],
            )
            over = [job_id for (job_id,) in await cursor.fetchall()]
        if not over:
            return
        job_id = self._chance.choice(over)
        async with asyncio.TaskGroup() as both:
            for _ in range(2):
                both.create_task(self._go_on(job_id))

    async def _go_on(self, job_id: UUID) -> None:
        try:
            job = await self._steady.retry(job_id)
        except (NotRetryable, JobNotFound):
            return
        except TRANSIENT:
            self.in_doubt += 1
            return
        if self.promises.retried.setdefault(job_id, job.id) != job.id:
            self.promises.broken.append(f"{job_id} was continued twice, the second time: {job.id}")
        self._promised(job)

    async def _pause(self) -> None:
        async with (await self._steady.database()).connection() as connection:
            await connection.execute(
                "UPDATE job_queues SET paused_at = CASE WHEN paused_at IS NULL "
                "THEN clock_timestamp() END WHERE name = %s",
                [LIMITED],
            )
            await connection.execute("SELECT pg_notify('evalqueue_work_v1', %s)", [LIMITED])

    async def _evaluate(self) -> None:
        await self._submit_batch(
            EvaluateBatch(
                llm_provider="simulated",
                total_items=self._chance.randint(2, 6),
                seed=self._chance.randint(0, 1000),
                concurrency=4,
            )
        )

    async def _evaluate_many(self) -> None:
        await self._submit_batch(
            EvaluateBatch(
                llm_provider="simulated",
                csv_content=self._conversations,
                sample_size=self._large_batch,
                evaluate_correctness=False,
                evaluate_efficiency=False,
                concurrency=4,
            )
        )

    async def _submit_batch(self, params: EvaluateBatch) -> None:
        how = {"owner": self._chance.choice(OWNERS), "max_attempts": MANY_ATTEMPTS}
        if self._unfinished <= ENOUGH:
            self._promised(await self._steady.submit(params, **how))

    def _anything(self) -> Steps:
        """Short work mostly; of everything else that can go wrong, a little."""
        some = self._chance
        kinds: list[tuple[float, Callable[[], Steps]]] = [
            (50, lambda: Steps(items=some.randint(1, 3), seconds=some.uniform(0.01, 0.1))),
            (20, lambda: Steps(items=some.randint(4, 10), seconds=0.2, concurrency=2)),
            (5, lambda: Steps(items=some.randint(10, 40), seconds=0.5)),
            (2, lambda: Steps(items=SHARED, seconds=0.2, concurrency=2, max_helpers=3)),
            (6, lambda: Steps(items=2, tries_again=some.randint(1, 2), after=some.random())),
            (2, lambda: Steps(items=1, tries_again=9, after=some.random())),
            (4, lambda: Steps(items=2, fails=True)),
            (2, lambda: Steps(items=2, seconds=some.uniform(1, 6), manner=Manner.CLINGS)),
            (1, lambda: Steps(items=1, seconds=some.uniform(1, 7), manner=Manner.BLOCKS)),
            (0.4, lambda: Steps(items=2, kills_its_worker=some.randint(1, 3))),
        ]
        (kind,) = some.choices([make for _, make in kinds], [weight for weight, _ in kinds])
        steps = kind()
        return steps.model_copy(update={"seconds": steps.seconds * self._pace})

    def _somehow(self) -> dict[str, Any]:
        some = self._chance
        how: dict[str, Any] = {
            "owner": some.choices(OWNERS, (10, 5, 3, 2, 1))[0],
            "priority": some.choices((0, 5, -5), (8, 1, 1))[0],
            "queue": LIMITED if some.random() < 0.1 else QUEUE,
        }
        if some.random() < 0.05:
            how["scheduled_at"] = now() + timedelta(seconds=some.uniform(0.5, 10) * self._pace)
        return how


def _is_dangerous(params: Steps) -> bool:
    blocks = params.manner is Manner.BLOCKS
    return blocks or params.kills_its_worker > 0 or params.tries_again > 0


def _renamed(copies: int) -> str:
    """The bundled conversations several times over, under names of their own."""
    with kaira_csv().open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    renamed = io.StringIO()
    writer = csv.DictWriter(renamed, fieldnames=list(found[0]))
    writer.writeheader()
    for copy in range(copies):
        for row in found:
            writer.writerow(row | {"thread_id": f"{row['thread_id']}-{copy}"})
    return renamed.getvalue()
