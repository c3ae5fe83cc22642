"""Is the fleet healthy? What is examined, and what a finding means.

Reading needs a database, judging doesn't: `judged` makes findings from a `FleetState`, which is
plain values. Every finding says what is wrong, since when, and what to do about it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial

from evalqueue.errors import NotificationsLost
from evalqueue.postgres import fleet, schedules, schema
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.fleet import FleetHealth, Leader, MisplacedJob, QueueState, WorkerRecord
from evalqueue.postgres.listener import Listener

PATIENCE = timedelta(seconds=30)
"""No finding before: the leader may change, a heartbeat may be late."""
LONG_WAIT = timedelta(minutes=1)  # for a job that is due
CLOCK_SKEW_MAX = timedelta(seconds=5)
JOBS_OVER_MAX = 1_000_000  # beyond which a retention should be set
MISPLACED_MAX = 1000  # jobs read


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing, perhaps meant so."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check."""

    name: str
    """Of the check; for programs, and never renamed."""
    level: Level
    what: str
    since: datetime | None = None
    fix: str | None = None
    """What to do: a command where there is one."""


_ok = partial(Finding, level=Level.OK)
_note = partial(Finding, level=Level.NOTE)
_wrong = partial(Finding, level=Level.WRONG)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """The fleet at one moment of the database's time."""

    moment: datetime
    workers: Sequence[WorkerRecord]
    leader: Leader | None
    queues: Sequence[QueueState]
    misplaced_jobs: Sequence[MisplacedJob]
    jobs_over: int = 0
    """Counted up to `JOBS_OVER_MAX` + 1."""
    keeps_jobs_for_ever: bool = True

    @property
    def alive(self) -> Sequence[WorkerRecord]:
        return [worker for worker in self.workers if worker.silent_for <= PATIENCE]

    def serving(self, queue: str) -> Sequence[WorkerRecord]:
        """The workers that take jobs of a queue."""
        return [
            worker
            for worker in self.alive
            if not worker.draining and (worker.queues is None or queue in worker.queues)
        ]


# Reading


async def examine(database: Database, *, keeps_jobs_for_ever: bool) -> list[Finding]:
    """All findings of a database that answers, also where the schema is outdated."""
    clock = await clock_agrees(database)
    migrated = await schema_is_current(database)
    if migrated.level is Level.WRONG:
        return [clock, migrated]
    async with database.connection() as connection:
        state = await read(connection, keeps_jobs_for_ever=keeps_jobs_for_ever)
    return [clock, migrated, *judged(state)]


async def read(connection: Connection, *, keeps_jobs_for_ever: bool) -> FleetState:
    """The state of the fleet, from its rows."""
    statistics = await fleet.statistics(connection, at_most=JOBS_OVER_MAX + 1)
    return FleetState(
        moment=statistics.moment,
        workers=await fleet.workers(connection),
        leader=await fleet.leader(connection),
        queues=await fleet.queues(connection),
        misplaced_jobs=await fleet.misplaced_jobs(connection, limit=MISPLACED_MAX),
        jobs_over=statistics.jobs_over,
        keeps_jobs_for_ever=keeps_jobs_for_ever,
    )


async def answers(database: Database) -> Finding:
    """Whether statements get through; `no_database` says what it means if this raises."""
    async with database.connection() as connection:
        await connection.execute("SELECT 1")
    return _ok(name="database", what="The database answers.")


def no_database(error: Exception, *, message: str | None = None) -> Finding:
    """An error as a finding: by its kind, or with a message that may name hosts and users."""
    if message is not None:
        what = message
    elif isinstance(error, TimeoutError):
        what = "The database did not answer in time."
    else:
        what = f"The database does not answer: {type(error).__name__}."
    return _wrong(
        name="database",
        what=what,
        fix=None if message else "Is Postgres running, and is DATABASE_URL right?",
    )


def not_looked_at(name: str) -> Finding:
    """A check that could not be made, because the database did not answer."""
    return _wrong(
        name=name,
        what="Not looked at: the database did not answer in time.",
        fix="See what is wrong with the database first.",
    )


async def schema_is_current(database: Database) -> Finding:
    """Whether every migration of ours and of procrastinate's was applied."""
    missing = await schema.pending(database)
    if missing:
        return _wrong(
            name="schema",
            what=f"The schema lacks {len(missing)} change(s), the first is {missing[0]}.",
            fix="evalqueue migrate",
        )
    newest = max(schema.own_migrations())
    return _ok(
        name="schema",
        what=f"The schema is current: tables to {newest}, functions, procrastinate's migrations.",
    )


async def notifications_arrive(listener: Listener, *, within_seconds: float) -> Finding:
    """Whether notifications arrive here; the listener proves it every few seconds."""
    try:
        async with asyncio.timeout(within_seconds):
            await listener.wait_for_proof()
    except NotificationsLost:
        return _wrong(
            name="notifications",
            what="What is sent by NOTIFY does not arrive: is there a pooler in between?",
            fix="Set EVALQUEUE_LISTEN_URL to an address of Postgres itself.",
        )
    except TimeoutError:
        return _wrong(
            name="notifications",
            what=f"A notification sent by NOTIFY did not arrive within {within_seconds:.0f} s.",
            fix="The log of this process says why LISTEN was lost.",
        )
    return _ok(name="notifications", what="What is sent by NOTIFY arrives.")


async def clock_agrees(database: Database) -> Finding:
    """Whether this machine and the database have the same time."""
    before = datetime.now(UTC)
    async with database.connection() as connection:
        theirs = await schedules.now(connection)
    return clock_finding(theirs, before, datetime.now(UTC))


# Judging


def clock_finding(theirs: datetime, before: datetime, after: datetime) -> Finding:
    """The difference between the database's time and ours, read between two moments of ours."""
    skew = max(theirs - after, before - theirs, timedelta(0))
    if skew <= CLOCK_SKEW_MAX:
        return _ok(name="clock", what="The clocks agree.")
    return _note(
        name="clock",
        what=f"The database's clock is {duration_text(skew)} "
        f"{'ahead of' if theirs > after else 'behind'} this machine's. Leases don't mind; what is "
        "scheduled comes by the database's.",
        fix="Set both by NTP.",
    )


def judged(state: FleetState) -> list[Finding]:
    """All findings of a fleet."""
    return [
        *_of_the_fleet(state),
        *_of_workers(state),
        *_of_queues(state),
        *_of_misplaced_jobs(state),
        *_of_what_is_over(state),
    ]


def warnings(health: FleetHealth) -> list[Finding]:
    """Findings for a probe, without details of any owner's jobs."""
    more = "evalqueue doctor"
    found: list[Finding] = []
    if health.workers_alive == 0:
        found.append(_wrong(name="workers", what="No worker is alive.", fix=more))
    if health.oldest_waits is not None and health.oldest_waits > LONG_WAIT:
        what = f"The oldest job that is due has waited for {duration_text(health.oldest_waits)}."
        found.append(_note(name="waiting", what=what, fix=more))
    if health.leases_run_out:
        lost = health.leases_run_out
        what = f"{lost} running job(s) lost their worker, and no leader recovers them."
        found.append(_wrong(name="lease", what=what, fix=more))
    return found


def _of_the_fleet(state: FleetState) -> Iterator[Finding]:
    if not state.alive:
        wanted = any(queue.running or queue.due or queue.later for queue in state.queues)
        yield Finding(
            name="workers",
            level=Level.WRONG if wanted else Level.NOTE,
            what="No worker is alive" + (", and there is work." if wanted else "."),
            fix="evalqueue worker",
        )
        return
    slots, taken = (sum(getattr(w, name) for w in state.alive) for name in ("slots", "running"))
    yield _ok(
        name="workers",
        what=f"{len(state.alive)} worker(s) alive, {taken} of {slots} slots taken.",
    )
    yield _of_the_leader(state)


def _of_the_leader(state: FleetState) -> Finding:
    leader = state.leader
    if leader is not None and leader.is_current:
        what = f"{leader.worker} leads the fleet (term {leader.term})."
        return _ok(name="leader", what=what, since=leader.since)
    since = min(worker.started_at for worker in state.alive)
    if leader is not None:
        since = max(since, leader.ends_at)
    if state.moment - since <= PATIENCE:
        return _ok(name="leader", what="The next leader is about to begin.")
    return _wrong(
        name="leader",
        what="No worker leads the fleet: lost jobs are not recovered, schedules submit nothing.",
        since=since,
        fix="See the workers' logs for \"Can't lead the fleet\", and restart one.",
    )


def _of_workers(state: FleetState) -> Iterator[Finding]:
    for worker in state.workers:
        where = f"process {worker.pid} on {worker.host}"
        if worker.silent_for > PATIENCE:
            yield _wrong(
                name="silent",
                what=f"{worker.name} has sent no heartbeat for {duration_text(worker.silent_for)}.",
                since=worker.seen_at,
                fix=f"Look at {where}. If it is frozen, kill it: other workers continue its jobs.",
            )
            continue
        if worker.stuck:
            yield _wrong(
                name="stuck",
                what=f"{worker.name} has {worker.stuck} handler(s) that ignore being cancelled.",
                fix=f"On {worker.host}: kill -TERM {worker.pid} (it drains, and exits with 70)",
            )
        # Known since its first heartbeat.
        if not worker.listening and worker.seen_at - worker.started_at > timedelta(seconds=1):
            yield _wrong(
                name="deaf",
                what=f"{worker.name} receives no notifications: it finds work by polling only.",
                since=worker.seen_at,
                fix=f"See the log of {where}. Behind a pooler: set EVALQUEUE_LISTEN_URL.",
            )
        if worker.draining:
            yield _note(
                name="draining",
                what=f"{worker.name} is stopping: {worker.running} job(s) may finish first.",
                fix=f"To hurry it, on {worker.host}: kill -TERM {worker.pid} (once more)",
            )


def _of_queues(state: FleetState) -> Iterator[Finding]:
    for queue in state.queues:
        waits = queue.oldest_waits or timedelta(0)
        since = state.moment - waits
        if queue.paused_at is not None:
            if queue.due:
                yield _note(
                    name="paused",
                    what=f"The queue {queue.name} is paused, and {queue.due} job(s) in it are due.",
                    since=queue.paused_at,
                    fix=f"evalqueue queues resume {queue.name}",
                )
        elif queue.due and not state.serving(queue.name):
            if waits > PATIENCE:
                yield _wrong(
                    name="unserved",
                    what=f"{queue.due} job(s) are due in {queue.name}, and no worker takes any.",
                    since=since,
                    fix=f"evalqueue worker --queues {queue.name}",
                )
        elif waits > LONG_WAIT:
            yield _note(
                name="waiting",
                what=f"In {queue.name} the oldest of {queue.due} due job(s) has waited for "
                f"{duration_text(waits)}: {_why_it_waits(state, queue)}.",
                since=since,
                fix="More workers, more slots (--concurrency), or wider limits: evalqueue queues",
            )


def _why_it_waits(state: FleetState, queue: QueueState) -> str:
    serving = state.serving(queue.name)
    if queue.max_running is not None and queue.running >= queue.max_running:
        return f"its limit of {queue.max_running} running job(s) is reached"
    if all(worker.running >= worker.slots for worker in serving):
        return f"all {sum(worker.slots for worker in serving)} slots are taken"
    if queue.max_running_per_owner is not None:
        return f"an owner may run {queue.max_running_per_owner} at a time"
    return "though slots are free"


_MISPLACED = {
    "lease": (
        "{count} running job(s) lost their worker, and no leader recovers them",
        "evalqueue worker",
    ),
    "unknown_type": (
        "{count} job(s) of type {job_type} wait in {queue}, and no worker there knows that type",
        "EVALQUEUE_IMPORTS=… evalqueue worker --queues {queue}",
    ),
    "waits_for_nothing": (
        "{count} job(s) wait for a job that is over or deleted; the leader will release them",
        "evalqueue worker",
    ),
    "disagrees": (
        "{count} job(s) are not in the state of their procrastinate rows (triggers switched off?)",
        "evalqueue cancel {oldest}",
    ),
}
"""For each kind of misplaced job: what is wrong, and what to do."""


def _of_misplaced_jobs(state: FleetState) -> Iterator[Finding]:
    groups: defaultdict[tuple[str, str, str], list[MisplacedJob]] = defaultdict(list)
    for job in state.misplaced_jobs:
        if job.problem != "unknown_type":
            groups[job.problem, "", ""].append(job)
        elif state.serving(job.queue):  # else there is no worker at all: another finding
            groups[job.problem, job.queue, job.job_type].append(job)
    for (problem, queue, job_type), jobs in groups.items():
        what, fix = _MISPLACED[problem]
        oldest = min(jobs, key=lambda job: job.since)
        # No more than so many were read.
        more = "at least " if len(state.misplaced_jobs) >= MISPLACED_MAX else ""
        facts = {"count": f"{more}{len(jobs)}", "queue": queue, "job_type": job_type}
        yield _wrong(
            name=problem,
            what=f"{what.format(**facts)}. The oldest: {oldest.id}",
            since=oldest.since,
            fix=fix.format(**facts, oldest=oldest.id),
        )


def _of_what_is_over(state: FleetState) -> Iterator[Finding]:
    if state.keeps_jobs_for_ever and state.jobs_over > JOBS_OVER_MAX:
        yield _note(
            name="retention",
            what=f"More than {JOBS_OVER_MAX:,} jobs are over, and none is ever deleted.",
            fix="evalqueue prune --jobs-days 90, or EVALQUEUE_KEEP_JOBS_DAYS=90 for the workers",
        )


def duration_text(length: timedelta) -> str:
    """A length of time in its largest unit."""
    seconds = length.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
