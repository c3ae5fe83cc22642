"""Is all well? What is examined, and what a finding means.

Looking needs a database, judging doesn't: `judged` makes findings from a `Picture`, which is plain
values. Every finding says what is wrong, since when, and what to do about it.
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
from evalqueue.postgres.fleet import Leader, Oddity, Pulse, QueueState, WorkerRecord
from evalqueue.postgres.listener import Listener

PATIENCE = timedelta(seconds=30)
"""What may be odd for so long: a change of hands, a heartbeat that is late."""
LONG_WAIT = timedelta(minutes=1)  # for a job that is due
CLOCK_SKEW_MAX = timedelta(seconds=5)
JOBS_OVER_MAX = 1_000_000  # beyond which somebody should have decided what is deleted
ODDITIES_MAX = 1000  # looked at


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing, perhaps meant so."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found when one thing was looked at."""

    name: str
    """Of what was looked at; for programs, and never renamed."""
    level: Level
    what: str
    since: datetime | None = None
    fix: str | None = None
    """What to do: a command where there is one."""


_ok = partial(Finding, level=Level.OK)
_note = partial(Finding, level=Level.NOTE)
_wrong = partial(Finding, level=Level.WRONG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The fleet at one moment of the database's time."""

    moment: datetime
    workers: Sequence[WorkerRecord]
    leader: Leader | None
    queues: Sequence[QueueState]
    oddities: Sequence[Oddity]
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


# Looking


async def examine(database: Database, *, keeps_jobs_for_ever: bool) -> list[Finding]:
    """Everything there is to find on a database that answers, whatever is in the way."""
    clock = await clock_agrees(database)
    migrated = await schema_is_current(database)
    if migrated.level is Level.WRONG:
        return [clock, migrated]
    async with database.connection() as connection:
        picture = await look(connection, keeps_jobs_for_ever=keeps_jobs_for_ever)
    return [clock, migrated, *judged(picture)]


async def look(connection: Connection, *, keeps_jobs_for_ever: bool) -> Picture:
    """The fleet as its rows say."""
    census = await fleet.census(connection, at_most=JOBS_OVER_MAX + 1)
    return Picture(
        moment=census.moment,
        workers=await fleet.workers(connection),
        leader=await fleet.leader(connection),
        queues=await fleet.queues(connection),
        oddities=await fleet.oddities(connection, limit=ODDITIES_MAX),
        jobs_over=census.jobs_over,
        keeps_jobs_for_ever=keeps_jobs_for_ever,
    )


async def answers(database: Database) -> Finding:
    """Whether statements get through; `no_database` says what it means if this raises."""
    async with database.connection() as connection:
        await connection.execute("SELECT 1")
    return _ok(name="database", what="The database answers.")


def no_database(error: Exception, *, said: str | None = None) -> Finding:
    """An error as a finding: by its kind, unless whoever reads it may know hosts and users."""
    if said is not None:
        what = said
    elif isinstance(error, TimeoutError):
        what = "The database did not answer in time."
    else:
        what = f"The database does not answer: {type(error).__name__}."
    return _wrong(
        name="database",
        what=what,
        fix="Is Postgres running, and is DATABASE_URL right?",
    )


def not_looked_at(name: str) -> Finding:
    """Something that could not be looked at, because of something else."""
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


async def hears(listener: Listener, *, within_seconds: float) -> Finding:
    """Whether what is sent by NOTIFY arrives here; proven by `feed` every few seconds."""
    try:
        async with asyncio.timeout(within_seconds):
            await listener.heard_itself()
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
    """What to say of the database's time, which was read between two moments of ours."""
    skew = max(theirs - after, before - theirs, timedelta(0))
    if skew <= CLOCK_SKEW_MAX:
        return _ok(name="clock", what="The clocks agree.")
    return _note(
        name="clock",
        what=f"The database's clock is {spoken(skew)} {'ahead of' if theirs > after else 'behind'} "
        "this machine's. Leases don't mind; what is scheduled comes by the database's.",
        fix="Set both by NTP.",
    )


def judged(picture: Picture) -> list[Finding]:
    """All that is to be said of a fleet."""
    return [
        *_of_the_fleet(picture),
        *_of_workers(picture),
        *_of_queues(picture),
        *_of_odd_jobs(picture),
        *_of_what_is_over(picture),
    ]


def warnings(pulse: Pulse) -> list[Finding]:
    """What a probe should be told, without a word about anybody's work."""
    more = "evalqueue doctor"
    found: list[Finding] = []
    if pulse.workers_alive == 0:
        found.append(_wrong(name="workers", what="No worker is alive.", fix=more))
    if pulse.oldest_waits is not None and pulse.oldest_waits > LONG_WAIT:
        what = f"The oldest job that is due has waited for {spoken(pulse.oldest_waits)}."
        found.append(_note(name="waiting", what=what, fix=more))
    if pulse.leases_run_out:
        what = (
            f"{pulse.leases_run_out} running job(s) lost their worker, and nobody takes them back."
        )
        found.append(_wrong(name="lease", what=what, fix=more))
    return found


def _of_the_fleet(picture: Picture) -> Iterator[Finding]:
    if not picture.alive:
        wanted = any(queue.running or queue.due or queue.later for queue in picture.queues)
        yield Finding(
            name="workers",
            level=Level.WRONG if wanted else Level.NOTE,
            what="No worker is alive" + (", and there is work." if wanted else "."),
            fix="evalqueue worker",
        )
        return
    slots, taken = (sum(getattr(w, name) for w in picture.alive) for name in ("slots", "running"))
    yield _ok(
        name="workers",
        what=f"{len(picture.alive)} worker(s) alive, {taken} of {slots} slots taken.",
    )
    yield _of_the_leader(picture)


def _of_the_leader(picture: Picture) -> Finding:
    leader = picture.leader
    if leader is not None and leader.in_office:
        what = f"{leader.worker} looks after the fleet (term {leader.term})."
        return _ok(name="leader", what=what, since=leader.since)
    since = min(worker.started_at for worker in picture.alive)
    if leader is not None:
        since = max(since, leader.ends_at)
    if picture.moment - since <= PATIENCE:
        return _ok(name="leader", what="The next leader is about to begin.")
    return _wrong(
        name="leader",
        what="No worker looks after the fleet: what is lost stays lost, no schedule is kept.",
        since=since,
        fix="See the workers' logs for \"Can't look after the fleet\", and restart one.",
    )


def _of_workers(picture: Picture) -> Iterator[Finding]:
    for worker in picture.workers:
        where = f"process {worker.pid} on {worker.host}"
        if worker.silent_for > PATIENCE:
            yield _wrong(
                name="silent",
                what=f"{worker.name} has not been heard of for {spoken(worker.silent_for)}.",
                since=worker.seen_at,
                fix=f"Look at {where}. If it is frozen, kill it: its jobs go on elsewhere.",
            )
            continue
        if worker.stuck:
            yield _wrong(
                name="stuck",
                what=f"{worker.name} has {worker.stuck} handler(s) that ignore being cancelled.",
                fix=f"On {worker.host}: kill -TERM {worker.pid} (it drains, and exits with 70)",
            )
        # It says so for the first time with its first heartbeat.
        if not worker.listening and worker.seen_at - worker.started_at > timedelta(seconds=1):
            yield _wrong(
                name="deaf",
                what=f"{worker.name} hears no notifications: it finds work by polling only.",
                since=worker.seen_at,
                fix=f"See the log of {where}. Behind a pooler: set EVALQUEUE_LISTEN_URL.",
            )
        if worker.draining:
            yield _note(
                name="draining",
                what=f"{worker.name} is stopping: {worker.running} job(s) may finish first.",
                fix=f"To hurry it, on {worker.host}: kill -TERM {worker.pid} (once more)",
            )


def _of_queues(picture: Picture) -> Iterator[Finding]:
    for queue in picture.queues:
        waits = queue.oldest_waits or timedelta(0)
        since = picture.moment - waits
        if queue.paused_at is not None:
            if queue.due:
                yield _note(
                    name="paused",
                    what=f"The queue {queue.name} is paused, and {queue.due} job(s) in it are due.",
                    since=queue.paused_at,
                    fix=f"evalqueue queues resume {queue.name}",
                )
        elif queue.due and not picture.serving(queue.name):
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
                f"{spoken(waits)}: {_why_it_waits(picture, queue)}.",
                since=since,
                fix="More workers, more slots (--concurrency), or wider limits: evalqueue queues",
            )


def _why_it_waits(picture: Picture, queue: QueueState) -> str:
    serving = picture.serving(queue.name)
    if queue.max_running is not None and queue.running >= queue.max_running:
        return f"its limit of {queue.max_running} running job(s) is reached"
    if all(worker.running >= worker.slots for worker in serving):
        return f"all {sum(worker.slots for worker in serving)} slots are taken"
    if queue.max_running_per_owner is not None:
        return f"an owner may run {queue.max_running_per_owner} at a time"
    return "though slots are free"


_ODD = {
    "lease": (
        "{count} running job(s) lost their worker, and nobody takes them back",
        "evalqueue worker",
    ),
    "unknown_type": (
        "{count} job(s) of type {job_type} wait in {queue}, and no worker there knows that type",
        "EVALQUEUE_IMPORTS=… evalqueue worker --queues {queue}",
    ),
    "waits_for_nothing": (
        "{count} job(s) wait for a job that is over or gone; the worker in office lets them go",
        "evalqueue worker",
    ),
    "disagrees": (
        "{count} job(s) are not where their procrastinate rows say (triggers switched off?)",
        "evalqueue cancel {oldest}",
    ),
}
"""For each oddity the database knows: what to say, and what to do."""


def _of_odd_jobs(picture: Picture) -> Iterator[Finding]:
    groups: defaultdict[tuple[str, str, str], list[Oddity]] = defaultdict(list)
    for odd in picture.oddities:
        if odd.oddity != "unknown_type":
            groups[odd.oddity, "", ""].append(odd)
        elif picture.serving(odd.queue):  # else nobody is there at all, which was said
            groups[odd.oddity, odd.queue, odd.job_type].append(odd)
    for (oddity, queue, job_type), jobs in groups.items():
        what, fix = _ODD[oddity]
        oldest = min(jobs, key=lambda job: job.since)
        # Beyond so many nobody has looked.
        more = "at least " if len(picture.oddities) >= ODDITIES_MAX else ""
        facts = {"count": f"{more}{len(jobs)}", "queue": queue, "job_type": job_type}
        yield _wrong(
            name=oddity,
            what=f"{what.format(**facts)}. The oldest: {oldest.id}",
            since=oldest.since,
            fix=fix.format(**facts, oldest=oldest.id),
        )


def _of_what_is_over(picture: Picture) -> Iterator[Finding]:
    if picture.keeps_jobs_for_ever and picture.jobs_over > JOBS_OVER_MAX:
        yield _note(
            name="retention",
            what=f"More than {JOBS_OVER_MAX:,} jobs are over, and none is ever deleted.",
            fix="evalqueue prune --jobs-days 90, or EVALQUEUE_KEEP_JOBS_DAYS=90 for the workers",
        )


def spoken(length: timedelta) -> str:
    """A length of time in its largest unit."""
    seconds = length.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
