"""The load of a soak test: clients that submit, cancel and retry jobs, repeat requests, and record
what the client library returned.
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
from faults.fault_log import now
from faults.proxy import Proxy
from faults.supervisor import POISONED
from faults.work import Manner, Steps

OWNERS = ("ada", "berta", "clara", "dora", "emil")
QUEUE, LIMITED = "evalqueue", "limited"
LIMIT, LIMIT_PER_OWNER = 3, 2
CLOCK = "clock"
"""The owner of the jobs of the schedule."""
MAX_UNFINISHED = 250  # jobs; none is submitted while more are not over
MANY_ATTEMPTS = 50  # more than the faults use up: a job that fails then failed on its own
FEW_ATTEMPTS = 3  # of jobs that harm their worker, or never complete
RETRY_DELAY = 0.2  # seconds
SHARED_ITEMS = 60  # items
LOST_ANSWERS = 0.5  # the share of submissions with a key


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """What the client library returned, and what must therefore hold."""

    jobs: set[UUID] = field(default_factory=set)
    cancelled: set[UUID] = field(default_factory=set)
    perhaps_cancelled: set[UUID] = field(default_factory=set)
    """Jobs whose cancellation was requested, whatever the response."""
    retried: dict[UUID, UUID] = field(default_factory=dict)
    keys: dict[str, set[UUID]] = field(default_factory=dict)
    """Each idempotency key with every job id that was returned for it."""
    followers: dict[UUID, UUID] = field(default_factory=dict)
    """Jobs submitted with `after`, each with the job it has to wait for."""
    broken: list[str] = field(default_factory=list)
    """Responses that are wrong in any case."""


class Load:
    """Clients that submit, cancel and retry until stopped.

    Args:
        flaky_network: a proxy of one client, whose connections are reset now and then.
        rate: jobs per second.
        pace: a factor for the durations of jobs.
        large_batch: threads of a batch that starts helper jobs.
    """

    def __init__(
        self,
        address: str,
        flaky_network: Proxy,
        flaky_address: str,
        rng: random.Random,
        *,
        rate: float,
        pace: float,
        large_batch: int,
    ) -> None:
        self._steady = Client(address)
        self._flaky = Client(flaky_address)
        self._flaky_network = flaky_network
        self._rng = rng
        self._rate = rate
        self._pace = pace
        self._recent: deque[UUID] = deque(maxlen=400)
        self._large_batch = large_batch
        self._conversations = _renamed(3)
        self._unfinished = 0
        self._stopping = asyncio.Event()
        self.promises = Promises()
        self.in_doubt = 0
        """Requests whose response was lost, and that were not repeated."""

    async def run(self, stop: asyncio.Event) -> None:
        """Submit, cancel and retry until `stop` is set. Call `prepare` first."""
        self._stopping = stop
        try:
            async with asyncio.TaskGroup() as services:
                for action, per_second in (
                    (self._submit, self._rate),
                    (self._cancel, self._rate / 8),
                    (self._retry, self._rate / 12),
                    (self._pause, 1 / 20),
                    (self._evaluate, 1 / 8),
                    (self._evaluate_large, 1 / 50),
                ):
                    services.create_task(self._repeat(action, per_second, stop))
        finally:
            await self._clean_up()
            await self._steady.aclose()
            await self._flaky.aclose()

    async def prepare(self) -> None:
        """Create a queue with limits and a schedule."""
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

    async def _clean_up(self) -> None:
        """Remove the schedule, and resume the paused queue."""

        async def settle(connection: psycopg.AsyncConnection[Any]) -> None:
            await connection.execute("UPDATE job_queues SET paused_at = NULL")
            await connection.execute("SELECT pg_notify('evalqueue_work_v1', %s)", [LIMITED])
            await schedules.remove(connection, CLOCK)

        await (await self._steady.database()).until_done(settle, what="The end of the load")

    async def _repeat(
        self, action: Callable[[], Awaitable[None]], per_second: float, stop: asyncio.Event
    ) -> None:
        """Start an action at random moments, until `stop` is set."""
        async with asyncio.TaskGroup() as actions:
            while not stop.is_set():
                actions.create_task(self._tolerating_outages(action))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._rng.expovariate(per_second)):
                        await stop.wait()

    async def _tolerating_outages(self, action: Callable[[], Awaitable[None]]) -> None:
        try:
            await action()
        except TRANSIENT:
            self.in_doubt += 1
        except EvalqueueError as error:
            self.promises.broken.append(f"{action.__name__}: {type(error).__name__}: {error}")

    def set_unfinished(self, unfinished: int) -> None:
        """Set the number of jobs that are not over."""
        self._unfinished = unfinished

    async def _submit(self) -> None:
        if self._unfinished > MAX_UNFINISHED:
            return
        params, options = self._random_steps(), self._random_options()
        options["max_attempts"] = FEW_ATTEMPTS if _is_dangerous(params) else MANY_ATTEMPTS
        if params.kills_its_worker:
            options["queue"] = POISONED
        draw = self._rng.random()
        if draw < 0.2:
            await self._submit_with_a_key(params, options)
        elif draw < 0.25 and self._recent:
            await self._submit_after(params, options, self._rng.choice(self._recent))
        else:
            self._record(await self._steady.submit(params, **options))

    def _record(self, job: Job) -> Job:
        self.promises.jobs.add(job.id)
        self._recent.append(job.id)
        return job

    async def _submit_with_a_key(self, params: JobParams, options: dict[str, Any]) -> None:
        """Submit until there is a response, and in half of the cases once more."""
        key = uuid4().hex
        ids = self.promises.keys.setdefault(key, set())
        cut: asyncio.TimerHandle | None = None
        while True:
            if not self._stopping.is_set() and self._rng.random() < LOST_ANSWERS:
                moment = self._rng.uniform(0.0, 0.02)
                cut = asyncio.get_running_loop().call_later(moment, self._flaky_network.reset_all)
            try:
                job = await self._flaky.submit(params, **options, idempotency_key=key)
            except TRANSIENT:
                await asyncio.sleep(RETRY_DELAY)
                continue
            finally:
                if cut is not None:
                    cut.cancel()
            ids.add(self._record(job).id)
            if self._rng.random() < LOST_ANSWERS:
                return

    async def _submit_after(self, params: JobParams, options: dict[str, Any], before: UUID) -> None:
        try:
            job = await self._steady.submit(params, **options, after=before)
        except InvalidParams:  # the other job failed, or was cancelled
            return
        self.promises.followers[self._record(job).id] = before

    async def _cancel(self) -> None:
        if not self._recent:
            return
        job_id = self._rng.choice(self._recent)
        self.promises.perhaps_cancelled.add(job_id)
        with contextlib.suppress(NotCancellable):
            await self._steady.cancel(job_id)
            self.promises.cancelled.add(job_id)

    async def _retry(self) -> None:
        """Retry the same job from two clients at once."""
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
        job_id = self._rng.choice(over)
        async with asyncio.TaskGroup() as clients:
            for _ in range(2):
                clients.create_task(self._retry_once(job_id))

    async def _retry_once(self, job_id: UUID) -> None:
        try:
            job = await self._steady.retry(job_id)
        except (NotRetryable, JobNotFound):
            return
        except TRANSIENT:
            self.in_doubt += 1
            return
        if self.promises.retried.setdefault(job_id, job.id) != job.id:
            self.promises.broken.append(f"{job_id} was continued twice, the second time: {job.id}")
        self._record(job)

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
                total_items=self._rng.randint(2, 6),
                seed=self._rng.randint(0, 1000),
                concurrency=4,
            )
        )

    async def _evaluate_large(self) -> None:
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
        options = {"owner": self._rng.choice(OWNERS), "max_attempts": MANY_ATTEMPTS}
        if self._unfinished <= MAX_UNFINISHED:
            self._record(await self._steady.submit(params, **options))

    def _random_steps(self) -> Steps:
        """Params of a random job: mostly short ones, and some of each kind that can go wrong."""
        rng = self._rng
        kinds: list[tuple[float, Callable[[], Steps]]] = [
            (50, lambda: Steps(items=rng.randint(1, 3), seconds=rng.uniform(0.01, 0.1))),
            (20, lambda: Steps(items=rng.randint(4, 10), seconds=0.2, concurrency=2)),
            (5, lambda: Steps(items=rng.randint(10, 40), seconds=0.5)),
            (2, lambda: Steps(items=SHARED_ITEMS, seconds=0.2, concurrency=2, max_helpers=3)),
            (6, lambda: Steps(items=2, tries_again=rng.randint(1, 2), after=rng.random())),
            (2, lambda: Steps(items=1, tries_again=9, after=rng.random())),
            (4, lambda: Steps(items=2, fails=True)),
            (2, lambda: Steps(items=2, seconds=rng.uniform(1, 6), manner=Manner.CLINGS)),
            (1, lambda: Steps(items=1, seconds=rng.uniform(1, 7), manner=Manner.BLOCKS)),
            (0.4, lambda: Steps(items=2, kills_its_worker=rng.randint(1, 3))),
        ]
        (kind,) = rng.choices([make for _, make in kinds], [weight for weight, _ in kinds])
        steps = kind()
        return steps.model_copy(update={"seconds": steps.seconds * self._pace})

    def _random_options(self) -> dict[str, Any]:
        rng = self._rng
        options: dict[str, Any] = {
            "owner": rng.choices(OWNERS, (10, 5, 3, 2, 1))[0],
            "priority": rng.choices((0, 5, -5), (8, 1, 1))[0],
            "queue": LIMITED if rng.random() < 0.1 else QUEUE,
        }
        if rng.random() < 0.05:
            options["scheduled_at"] = now() + timedelta(seconds=rng.uniform(0.5, 10) * self._pace)
        return options


def _is_dangerous(params: Steps) -> bool:
    blocks = params.manner is Manner.BLOCKS
    return blocks or params.kills_its_worker > 0 or params.tries_again > 0


def _renamed(copies: int) -> str:
    """Several copies of the bundled conversations, with thread ids of their own."""
    with kaira_csv().open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    renamed = io.StringIO()
    writer = csv.DictWriter(renamed, fieldnames=list(rows[0]))
    writer.writeheader()
    for copy in range(copies):
        for row in rows:
            writer.writerow(row | {"thread_id": f"{row['thread_id']}-{copy}"})
    return renamed.getvalue()
