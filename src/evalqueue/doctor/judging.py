"""Findings of a fleet, from plain values."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from evalqueue.doctor.findings import Finding, Level, duration_text, note, ok, wrong
from evalqueue.postgres.fleet import Leader, QueueState, WorkerRecord
from evalqueue.postgres.health import FleetHealth, MisplacedJob, OldSnapshot, UnusedSlot
from evalqueue.postgres.schedules import Schedule
from evalqueue.postgres.schema import LackedRights, Role

PATIENCE = timedelta(seconds=30)
"""No finding before: the leader may change, a heartbeat may be late."""
LONG_WAIT = timedelta(minutes=1)  # for a job that is due
CLOCK_SKEW_MAX = timedelta(seconds=5)
JOBS_OVER_MAX = 1_000_000  # beyond which a retention should be set
MISPLACED_MAX = 1000  # jobs read
OLD_SNAPSHOT = timedelta(minutes=5)
"""The age of a transaction from which on the dead rows that it keeps are worth a word."""
HARMFUL_SNAPSHOT = timedelta(hours=1)  # longer than a backup of most databases takes
NAMES_SHOWN = 5  # of what a role lacks rights on; the fix names all


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """The fleet at one moment of the database's time."""

    moment: datetime
    workers: Sequence[WorkerRecord]
    leader: Leader | None
    queues: Sequence[QueueState]
    misplaced_jobs: Sequence[MisplacedJob]
    schedules: Sequence[Schedule] = ()
    old_snapshots: Sequence[OldSnapshot] = ()
    unused_slots: Sequence[UnusedSlot] = ()
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


def clock_finding(theirs: datetime, before: datetime, after: datetime) -> Finding:
    """The difference between the database's time and ours, read between two moments of ours."""
    skew = max(theirs - after, before - theirs, timedelta(0))
    if skew <= CLOCK_SKEW_MAX:
        return ok(name="clock", what="The clocks agree.")
    return note(
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
        *_of_refusals(state),
        *_of_schedules(state),
        *_of_snapshots(state),
        *_of_slots(state),
        *_of_what_is_over(state),
    ]


def of_rights(role: Role) -> list[Finding]:
    """What the role of this session lacks. One that writes nothing is meant only to read."""
    found = [
        (wrong if role.writes else note)(
            name="rights",
            what=f"The role {role.name} lacks rights of a worker's or an API's: {_listed(each)}",
            fix=each.grant(role.name) if role.writes else "Meant so, if it only reads or submits.",
        )
        for each in role.lacks
    ]
    if not role.sees_sessions:
        found.append(
            note(
                name="sessions",
                what=f"The role {role.name} does not see transactions of other roles, which may "
                "keep dead rows.",
                fix=f"GRANT pg_read_all_stats TO {role.name};",
            )
        )
    return found


def _listed(lacked: LackedRights) -> str:
    shown = ", ".join(lacked.names[:NAMES_SHOWN])
    more = len(lacked.names) - NAMES_SHOWN
    return f"{lacked.rights} on {shown}{f' and {more} more' if more > 0 else ''}."


def warnings(health: FleetHealth) -> list[Finding]:
    """Findings for a probe, without details of any owner's jobs."""
    more = "evalqueue doctor"
    found: list[Finding] = []
    if health.workers_alive == 0:
        found.append(wrong(name="workers", what="No worker is alive.", fix=more))
    if health.oldest_waits is not None and health.oldest_waits > LONG_WAIT:
        what = f"The oldest job that is due has waited for {duration_text(health.oldest_waits)}."
        found.append(note(name="waiting", what=what, fix=more))
    if health.leases_run_out:
        lost = health.leases_run_out
        what = f"{lost} running job(s) lost their worker, and no leader recovers them."
        found.append(wrong(name="lease", what=what, fix=more))
    if health.troubled_workers:
        what = f"The database refuses statements to {health.troubled_workers} worker(s)."
        found.append(wrong(name="refused", what=what, fix=more))
    if health.refused_jobs:
        what = f"{health.refused_jobs} job(s) can't be claimed: the database refuses it."
        found.append(wrong(name="refused_job", what=what, fix=more))
    if health.refused_schedules:
        what = f"{health.refused_schedules} schedule(s) are paused: their jobs are refused."
        found.append(wrong(name="schedule", what=what, fix=more))
    if health.oldest_snapshot is not None and health.oldest_snapshot > OLD_SNAPSHOT:
        what = f"A transaction has been open for {duration_text(health.oldest_snapshot)}."
        found.append(_of_age(health.oldest_snapshot)(name="snapshot", what=what, fix=more))
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
    yield ok(
        name="workers",
        what=f"{len(state.alive)} worker(s) alive, {taken} of {slots} slots taken.",
    )
    yield _of_the_leader(state)


def _of_the_leader(state: FleetState) -> Finding:
    leader = state.leader
    if leader is not None and leader.is_current:
        what = f"{leader.worker} leads the fleet (term {leader.term})."
        return ok(name="leader", what=what, since=leader.since)
    since = min(worker.started_at for worker in state.alive)
    if leader is not None:
        since = max(since, leader.ends_at)
    if state.moment - since <= PATIENCE:
        return ok(name="leader", what="The next leader is about to begin.")
    return wrong(
        name="leader",
        what="No worker leads the fleet: lost jobs are not recovered, schedules submit nothing.",
        since=since,
        fix="See the workers' logs for \"Can't lead the fleet\", and restart one.",
    )


def _of_workers(state: FleetState) -> Iterator[Finding]:
    for worker in state.workers:
        where = f"process {worker.pid} on {worker.host}"
        if worker.silent_for > PATIENCE and worker.has_ended:
            yield note(
                name="ended",
                what=f"{worker.name} has ended: it has no connection to Postgres any more.",
                fix="Nothing: other workers continue its jobs, and this goes within a minute.",
            )
            continue
        if worker.silent_for > PATIENCE:
            yield wrong(
                name="silent",
                what=f"{worker.name} has sent no heartbeat for {duration_text(worker.silent_for)}.",
                since=worker.seen_at,
                fix=f"Look at {where}. If it is frozen, kill it; others continue its jobs.",
            )
            continue
        if worker.stuck:
            yield wrong(
                name="stuck",
                what=f"{worker.name} has {worker.stuck} handler(s) that ignore being cancelled.",
                fix=f"On {worker.host}: kill -TERM {worker.pid} (it drains, and exits with 70)",
            )
        # Known since its first heartbeat.
        if not worker.listening and worker.seen_at - worker.started_at > timedelta(seconds=1):
            yield wrong(
                name="deaf",
                what=f"{worker.name} receives no notifications: it finds work by polling only.",
                since=worker.seen_at,
                fix=f"See the log of {where}. Behind a pooler: set EVALQUEUE_LISTEN_URL.",
            )
        if worker.draining:
            yield note(
                name="draining",
                what=f"{worker.name} is stopping: {worker.running} job(s) may finish first.",
                fix=f"To hurry it, on {worker.host}: kill -TERM {worker.pid} (once more)",
            )


def _of_queues(state: FleetState) -> Iterator[Finding]:
    for queue in state.queues:
        waits, due = queue.oldest_waits or timedelta(0), queue.shown(queue.due)
        since = state.moment - waits
        if queue.paused_at is not None:
            if queue.oldest_waits is not None:
                yield note(
                    name="paused",
                    what=f"The queue {queue.name} is paused, and {due} job(s) in it are due.",
                    since=queue.paused_at,
                    fix=f"evalqueue queues resume {queue.name}",
                )
        elif queue.oldest_waits is not None and not state.serving(queue.name):
            if waits > PATIENCE:
                yield wrong(
                    name="unserved",
                    what=f"{due} job(s) are due in {queue.name}, and no worker takes any.",
                    since=since,
                    fix=f"evalqueue worker --queues {queue.name}",
                )
        elif waits > LONG_WAIT:
            yield note(
                name="waiting",
                what=f"In {queue.name} the oldest of {due} due job(s) has waited for "
                f"{duration_text(waits)}: {_why_it_waits(state, queue)}.",
                since=since,
                fix="More workers, more slots (--concurrency), or wider limits: evalqueue queues",
            )


def _why_it_waits(state: FleetState, queue: QueueState) -> str:
    serving = state.serving(queue.name)
    if queue.max_running is not None and queue.running + queue.helpers >= queue.max_running:
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
        yield wrong(
            name=problem,
            what=f"{what.format(**facts)}. The oldest: {oldest.id}",
            since=oldest.since,
            fix=fix.format(**facts, oldest=oldest.id),
        )


def _of_refusals(state: FleetState) -> Iterator[Finding]:
    jobs: dict[str, tuple[str, datetime]] = {}
    for worker in state.alive:
        for trouble in worker.troubles:
            since = datetime.fromisoformat(trouble["since"])
            if job_id := trouble.get("job_id"):
                jobs[job_id] = trouble["error"], since
                continue
            yield wrong(
                name="refused",
                what=f"{worker.name} can't {trouble['what']}: {trouble['error']}",
                since=since,
                fix="A right that its role lacks, or a trigger of another program. See the log of "
                f"process {worker.pid} on {worker.host}.",
            )
    for job_id, (error, since) in jobs.items():
        yield wrong(
            name="refused_job",
            what=f"Job {job_id} can't be claimed, and is left out for a while: {error}",
            since=since,
            fix=f"Mend what raises it (a trigger of a program?), or: evalqueue cancel {job_id}",
        )


def _of_schedules(state: FleetState) -> Iterator[Finding]:
    for schedule in state.schedules:
        if schedule.paused_at is None:
            continue
        if schedule.problem is None:
            what, level = f"The schedule {schedule.name} is paused.", note
        else:
            level = wrong
            what = (
                f"The schedule {schedule.name} is paused: its jobs are refused. {schedule.problem}"
            )
        yield level(
            name="schedule",
            what=what,
            since=schedule.paused_at,
            fix=f"evalqueue schedules resume {schedule.name}",
        )


def _of_snapshots(state: FleetState) -> Iterator[Finding]:
    for held in state.old_snapshots:
        if held.holder == "session":
            what = f"The transaction of process {held.pid} of Postgres ({held.who})"
            fix = f"End it: SELECT pg_terminate_backend({held.pid})"
        else:
            what = f"The prepared transaction {held.who}"
            fix = f"End it: ROLLBACK PREPARED '{held.who}'"
        yield _of_age(held.age)(
            name="snapshot",
            what=f"{what} has been open for {duration_text(held.age)}: until it ends, rows that "
            "were deleted or replaced since can't be removed, and claims get slower.",
            since=state.moment - held.age,
            fix=fix,
        )


def _of_slots(state: FleetState) -> Iterator[Finding]:
    for slot in state.unused_slots:
        level = note if slot.unused_for is None else _of_age(slot.unused_for)
        kept = "deleted rows and" if slot.keeps_rows else "at least"
        yield level(
            name="slot",
            what=f"The replication slot {slot.name} is not in use, and keeps {kept} "
            f"{slot.wal_bytes / 1e6:,.0f} MB of WAL: claims may get slower, and the disk full.",
            since=None if slot.unused_for is None else state.moment - slot.unused_for,
            fix=f"If no standby or consumer comes back: SELECT pg_drop_replication_slot("
            f"'{slot.name}')",
        )


def _of_age(age: timedelta) -> Callable[..., Finding]:
    return wrong if age > HARMFUL_SNAPSHOT else note


def _of_what_is_over(state: FleetState) -> Iterator[Finding]:
    if state.keeps_jobs_for_ever and state.jobs_over > JOBS_OVER_MAX:
        yield note(
            name="retention",
            what=f"More than {JOBS_OVER_MAX:,} jobs are over, and none is ever deleted.",
            fix="evalqueue prune --jobs-days 90, or EVALQUEUE_KEEP_JOBS_DAYS=90 for the workers",
        )
