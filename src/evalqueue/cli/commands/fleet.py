"""What the commands about the fleet do: queues, workers, schedules, what is old, and the doctor."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from evalqueue import doctor, settings
from evalqueue.cli.commands.jobs import connected, teach
from evalqueue.cli.output import console
from evalqueue.cli.output.console import ExitCode
from evalqueue.doctor import Finding, Level
from evalqueue.errors import DatabaseUnavailable, Refused
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres import fleet, schedules
from evalqueue.postgres.database import TRANSIENT, Connection, Database, without_secrets
from evalqueue.postgres.fleet import Leader, QueueState, WorkerRecord
from evalqueue.postgres.listener import Listener
from evalqueue.postgres.schedules import Schedule
from evalqueue.settings import Settings
from evalqueue.worker import leader as leadership
from evalqueue.worker.leader import Retention

HEARD_WITHIN = 8.0  # seconds; a feed that hears nothing knows it after five
NAME_MAX = 100  # characters of a schedule's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A schedule as it was asked for."""

    name: str
    cron: str
    timezone: str
    job_type: str
    params: Mapping[str, Any]
    owner: str
    queue: str | None
    priority: int


# Queues


async def list_queues(*, as_json: bool) -> ExitCode:
    """Print every queue."""
    async with connected() as client, (await client.database()).connection() as connection:
        found = await fleet.queues(connection)
    _put_queues(found, as_json=as_json)
    return ExitCode.DONE


async def pause_queue(name: str, *, as_json: bool) -> ExitCode:
    """Start nothing of a queue."""
    async with connected() as client, (await client.database()).connection() as connection:
        if await _queue(connection, name) is None:
            console.say(f"Nothing has used a queue {name!r} so far. It is paused all the same.")
        await fleet.pause(connection, name)
    _put_done({"name": name, "paused": True}, f"paused {name}", as_json=as_json)
    return ExitCode.DONE


async def resume_queue(name: str, *, as_json: bool) -> ExitCode:
    """Start jobs of a queue again."""
    async with connected() as client, (await client.database()).connection() as connection:
        await fleet.resume(connection, name)
    _put_done({"name": name, "paused": False}, f"resumed {name}", as_json=as_json)
    return ExitCode.DONE


async def limit_queue(
    name: str, max_running: int | None, per_owner: int | None, *, as_json: bool
) -> ExitCode:
    """Limit a queue. 0: no limit; None: as it is."""
    if max_running is None and per_owner is None:
        raise Refused("Which limit? --max-running N, --per-owner N, or both. 0 takes it away.")
    async with connected() as client, (await client.database()).connection() as connection:
        state = await _queue(connection, name)
        if state is not None and max_running is None:
            max_running = state.max_running
        if state is not None and per_owner is None:
            per_owner = state.max_running_per_owner
        await fleet.limit(
            connection,
            name,
            max_running=max_running or None,
            max_running_per_owner=per_owner or None,
        )
        limited = await _queue(connection, name)
    _put_queues([] if limited is None else [limited], as_json=as_json)
    return ExitCode.DONE


async def _queue(connection: Connection, name: str) -> QueueState | None:
    return next((each for each in await fleet.queues(connection) if each.name == name), None)


def _put_queues(found: Sequence[QueueState], *, as_json: bool) -> None:
    if as_json:
        console.put_json([console.json_of(queue) for queue in found])
    elif not found:
        console.say("No queues: no job waits, and no worker runs.")
    else:
        console.put_table(
            ("queue", "running", "due", "later", "oldest waits", "limit", "per owner", "paused"),
            [
                (
                    each.name, each.running, each.due, each.later,
                    "" if each.oldest_waits is None else doctor.spoken(each.oldest_waits),
                    each.max_running or "", each.max_running_per_owner or "",
                    console.moment(each.paused_at),
                )
                for each in found
            ],
        )  # fmt: skip


# Workers


async def list_workers(*, as_json: bool) -> ExitCode:
    """Print every worker."""
    async with connected() as client, (await client.database()).connection() as connection:
        found = await fleet.workers(connection)
        leader = await fleet.leader(connection)
    if as_json:
        console.put_json([
            console.json_of(each) | {"in_office": _in_office(each, leader)} for each in found
        ])  # fmt: skip
    elif not found:
        console.say("No workers. To run one: evalqueue worker")
    else:
        console.put_table(
            ("worker", "queues", "slots", "running", "state", "since", "last seen", "job types"),
            [
                (
                    each.name, "all" if each.queues is None else ", ".join(each.queues),
                    each.slots, each.running, _state(each, leader), console.moment(each.started_at),
                    f"{doctor.spoken(each.silent_for)} ago", ", ".join(each.job_types),
                )
                for each in found
            ],
        )  # fmt: skip
    return ExitCode.DONE


def _in_office(worker: WorkerRecord, leader: Leader | None) -> bool:
    return leader is not None and leader.in_office and leader.worker == worker.name


def _state(worker: WorkerRecord, leader: Leader | None) -> str:
    words = {
        "silent": worker.silent_for > doctor.PATIENCE,
        "draining": worker.draining,
        f"{worker.stuck} stuck": worker.stuck > 0,
        "in office": _in_office(worker, leader),
    }
    return ", ".join(word for word, holds in words.items() if holds) or "well"


# Schedules


async def list_schedules(*, as_json: bool) -> ExitCode:
    """Print every schedule."""
    async with connected() as client, (await client.database()).connection() as connection:
        found = await schedules.list_all(connection)
    if as_json:
        console.put_json([console.json_of(each) for each in found])
    elif not found:
        console.say("No schedules. To add one: evalqueue schedules add --help")
    else:
        console.put_table(
            ("name", "cron", "time zone", "job type", "next", "last", "last job"),
            [
                (
                    each.name, each.cron, each.timezone, each.job_type,
                    "paused" if each.paused_at else console.moment(each.next_at),
                    console.moment(each.last_at), each.last_job_id or "",
                )
                for each in found
            ],
        )  # fmt: skip
    return ExitCode.DONE


async def add_schedule(wanted: Wanted, *, as_json: bool) -> ExitCode:
    """Store a schedule whose jobs can work."""
    if not 1 <= len(wanted.name) <= NAME_MAX:
        raise Refused(f"name: 1 to {NAME_MAX} characters are needed.")
    async with connected() as client:
        teach(client)
        database = await client.database()
        params = client.job_types.decode(wanted.job_type, wanted.params)
        admitted = await params.admit(
            AdmissionContext(settings=client.settings, database=database, owner=wanted.owner)
        )
        async with database.connection() as connection:
            now = await schedules.now(connection)
            schedule = Schedule(
                name=wanted.name,
                cron=wanted.cron,
                timezone=wanted.timezone,
                job_type=wanted.job_type,
                params=admitted.lasting(),
                owner=wanted.owner,
                queue=wanted.queue or client.settings.queue,
                priority=wanted.priority,
                max_attempts=3,
                next_at=schedules.next_time(wanted.cron, wanted.timezone, now),
            )
            await schedules.put(connection, schedule)
    _put_done(console.json_of(schedule), _next(schedule), as_json=as_json)
    return ExitCode.DONE


def _next(schedule: Schedule) -> str:
    return f"{schedule.name} comes next at {schedule.next_at.isoformat()}"


async def pause_schedule(name: str) -> ExitCode:
    """Submit nothing by a schedule."""
    async with connected() as client, (await client.database()).connection() as connection:
        return _told(name, "paused", found=await schedules.pause(connection, name))


async def resume_schedule(name: str) -> ExitCode:
    """Go on with a schedule from now on."""
    async with connected() as client, (await client.database()).connection() as connection:
        return _told(name, "resumed", found=await schedules.resume(connection, name))


async def remove_schedule(name: str) -> ExitCode:
    """Forget a schedule."""
    async with connected() as client, (await client.database()).connection() as connection:
        return _told(name, "removed", found=await schedules.remove(connection, name))


def _told(name: str, done: str, *, found: bool) -> ExitCode:
    if not found:
        console.say(f"There is no schedule {name!r}. Those that are: evalqueue schedules")
        return ExitCode.NOT_FOUND
    console.put(f"{done} {name}")
    return ExitCode.DONE


# What is old


async def prune(
    jobs_days: float | None, runs_days: float | None, logs_days: float | None, *, as_json: bool
) -> ExitCode:
    """Delete what has been over for so long."""
    current = settings.read()
    given = {  # calls before the runs they are of, runs before the jobs
        "logs": current.keep_logs_days if logs_days is None else logs_days,
        "runs": current.keep_runs_days if runs_days is None else runs_days,
        "jobs": current.keep_jobs_days if jobs_days is None else jobs_days,
    }
    wanted = {name: timedelta(days=days) for name, days in given.items() if days is not None}
    if not wanted:
        raise Refused(
            "What is to be deleted? --jobs-days N, --runs-days N, --logs-days N, or "
            "EVALQUEUE_KEEP_JOBS_DAYS and the like. Without them everything is kept."
        )
    async with connected() as client:
        database = await client.database()
        gone = {
            name: await leadership.prune(database, Retention(**{name: age}))
            for name, age in wanted.items()
        }
    words = ", ".join(f"{number} row(s) of {name}" for name, number in gone.items())
    _put_done(gone, f"deleted {words}", as_json=as_json)
    return ExitCode.DONE


# The doctor


async def examine(*, as_json: bool) -> ExitCode:
    """Print what was found; fail if something is wrong."""
    found = await _findings()
    wrong = [each for each in found if each.level is Level.WRONG]
    if as_json:
        console.put_json({"sound": not wrong, "findings": [asdict(each) for each in found]})
    else:
        for each in found:
            _put_finding(each)
        console.put(f"\n{len(wrong)} thing(s) are wrong." if wrong else "\nAll is sound.")
    return ExitCode.FAILED if wrong else ExitCode.DONE


async def _findings() -> list[Finding]:
    try:
        async with connected(verified=False) as client:
            database = await client.database()
            found = await doctor.examine(
                database, keeps_jobs_for_ever=client.settings.keep_jobs_days is None
            )
            heard = await _heard(database, client.settings)
    except DatabaseUnavailable as error:
        return [doctor.no_database(error, said=str(error))]
    except TRANSIENT as error:
        return [doctor.no_database(error)]
    return [heard, *found]


async def _heard(database: Database, current: Settings) -> Finding:
    async with Listener(database, []) as listener:
        found = await doctor.hears(listener, within_seconds=HEARD_WITHIN)
    where = "EVALQUEUE_LISTEN_URL" if current.listen_url else "DATABASE_URL"
    address = without_secrets(database.listen_conninfo)
    return replace(found, what=f"{found.what} LISTEN goes by {where}: {address}")


def _put_finding(finding: Finding) -> None:
    since = "" if finding.since is None else f" (since {console.moment(finding.since)})"
    console.put(f"{finding.level:<5}  {finding.name:<14} {finding.what}{since}")
    if finding.fix:
        console.put(f"{'':<5}  {'':<14} → {finding.fix}")


def _put_done(document: Mapping[str, Any], words: str, *, as_json: bool) -> None:
    if as_json:
        console.put_json(document)
    else:
        console.put(words)
