"""The commands about the fleet: queues, workers, prune, audit."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta

from evalqueue import audit, doctor, settings
from evalqueue.audit import AuditFilter
from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.cli.output.times import format_time
from evalqueue.errors import Refused
from evalqueue.postgres import fleet
from evalqueue.postgres.database import Connection
from evalqueue.postgres.fleet import Leader, QueueState, WorkerRecord
from evalqueue.problems import line_problem
from evalqueue.worker import leader as leadership
from evalqueue.worker.leader import Retention


async def list_queues(*, as_json: bool) -> ExitCode:
    """Print every queue."""
    async with open_client() as client, (await client.database()).connection() as connection:
        found = await fleet.queues(connection)
    _print_queues(found, as_json=as_json)
    return ExitCode.DONE


async def pause_queue(name: str, *, as_json: bool) -> ExitCode:
    """Start no more jobs of a queue.

    Raises:
        Refused: no queue can have this name.
    """
    _check_queue_name(name)
    async with open_client() as client, (await client.database()).connection() as connection:
        is_known = await _known(connection, name, "paused")
        await fleet.pause(connection, name)
    changed = {"name": name, "paused": True, "is_known": is_known}
    console.print_result(changed, f"paused {name}", as_json=as_json)
    return ExitCode.DONE


async def resume_queue(name: str, *, as_json: bool) -> ExitCode:
    """Start jobs of a queue again."""
    async with open_client() as client, (await client.database()).connection() as connection:
        is_known = await _known(connection, name, "resumed")
        await fleet.resume(connection, name)
    changed = {"name": name, "paused": False, "is_known": is_known}
    console.print_result(changed, f"resumed {name}", as_json=as_json)
    return ExitCode.DONE


async def limit_queue(
    name: str, max_running: int | None, per_owner: int | None, *, as_json: bool
) -> ExitCode:
    """Set the limits of a queue. 0: no limit; None: unchanged.

    Raises:
        Refused: no queue can have this name, or there is no limit.
    """
    _check_queue_name(name)
    if max_running is None and per_owner is None:
        raise Refused("No limit given: --max-running N, --per-owner N, or both. 0 removes a limit.")
    async with open_client() as client, (await client.database()).connection() as connection:
        await _known(connection, name, "limited")
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
    _print_queues([] if limited is None else [limited], as_json=as_json)
    return ExitCode.DONE


def _check_queue_name(name: str) -> None:
    if problem := line_problem(name):
        raise Refused(f"NAME: {problem}.")
    if len(name) > fleet.MAX_QUEUE_NAME:
        raise Refused(f"NAME: it may have {fleet.MAX_QUEUE_NAME} characters at most.")


async def _known(connection: Connection, name: str, change: str) -> bool:
    """Whether there is something in a queue, or was; a message if not: its name may be misspelt."""
    is_known = await fleet.is_known(connection, name)
    if not is_known:
        console.print_message(f"There is no queue {name!r} so far; it is {change} anyway.")
    return is_known


async def _queue(connection: Connection, name: str) -> QueueState | None:
    return next((each for each in await fleet.queues(connection) if each.name == name), None)


def _print_queues(found: Sequence[QueueState], *, as_json: bool) -> None:
    if as_json:
        console.print_json([console.row_json(queue) for queue in found])
    elif not found:
        console.print_message("No queues: no job waits, and no worker runs.")
    else:
        console.print_table(
            ("queue", "running", "due", "later", "oldest waits", "limit", "per owner", "paused"),
            [
                (
                    each.name, each.running, each.shown(each.due), each.shown(each.later),
                    "" if each.oldest_waits is None else doctor.duration_text(each.oldest_waits),
                    each.max_running or "", each.max_running_per_owner or "",
                    format_time(each.paused_at),
                )
                for each in found
            ],
        )  # fmt: skip


async def list_workers(*, as_json: bool) -> ExitCode:
    """Print every worker."""
    async with open_client() as client, (await client.database()).connection() as connection:
        found = await fleet.workers(connection)
        leader = await fleet.leader(connection)
    if as_json:
        console.print_json([
            console.row_json(each) | {"is_leader": _is_leader(each, leader)} for each in found
        ])  # fmt: skip
    elif not found:
        console.print_message("No workers. To run one: evalqueue worker")
    else:
        console.print_table(
            ("worker", "queues", "slots", "running", "state", "since", "last seen", "job types"),
            [
                (
                    each.name, "all" if each.queues is None else ", ".join(each.queues),
                    each.slots, each.running, _state(each, leader), format_time(each.started_at),
                    f"{doctor.duration_text(each.silent_for)} ago", ", ".join(each.job_types),
                )
                for each in found
            ],
        )  # fmt: skip
    return ExitCode.DONE


def _is_leader(worker: WorkerRecord, leader: Leader | None) -> bool:
    return leader is not None and leader.is_current and leader.worker == worker.name


def _state(worker: WorkerRecord, leader: Leader | None) -> str:
    states = {
        "silent": worker.silent_for > doctor.PATIENCE,
        "draining": worker.draining,
        f"{worker.stuck} stuck": worker.stuck > 0,
        "leader": _is_leader(worker, leader),
    }
    return ", ".join(state for state, applies in states.items() if applies) or "active"


async def prune(days: Mapping[str, float | None], *, as_json: bool) -> ExitCode:
    """Delete what ended, or was written, longer ago than the given numbers of days.

    Args:
        days: of `logs`, `runs`, `jobs` and `audit`, in the order of deletion: calls before their
            runs, runs before their jobs. None: as the settings have it.
    """
    current = settings.read()
    days_kept = {
        name: getattr(current, f"keep_{name}_days") if given is None else given
        for name, given in days.items()
    }
    ages = {name: timedelta(days=days) for name, days in days_kept.items() if days is not None}
    if not ages:
        raise Refused(
            "No age given: --jobs-days N, --runs-days N, --logs-days N, --audit-days N, or "
            "EVALQUEUE_KEEP_JOBS_DAYS and the like. Without them nothing is deleted."
        )
    async with open_client() as client:
        database = await client.database()
        deleted = {
            name: await leadership.prune(database, Retention(**{name: age}))
            for name, age in ages.items()
        }
    text = ", ".join(f"{number} row(s) of {name}" for name, number in deleted.items())
    console.print_result(deleted, f"deleted {text}", as_json=as_json)
    return ExitCode.DONE


async def list_audit_entries(
    where: AuditFilter, *, after: int | None, limit: int, as_json: bool
) -> ExitCode:
    """Print changes, newest first."""
    async with open_client() as client, (await client.database()).connection() as connection:
        found = await audit.entries(connection, where, after=after, limit=limit)
    if as_json:
        console.print_json([console.row_json(each) for each in found])
    elif not found:
        console.print_message("No such change is recorded.")
    else:
        console.print_table(
            ("id", "at", "actor", "by", "action", "subject", "details"),
            [
                (
                    each.id, format_time(each.at), each.actor, each.door, each.action,
                    f"{each.subject_kind} {each.subject_id}",
                    json.dumps(each.details, ensure_ascii=False),
                )
                for each in found
            ],
        )  # fmt: skip
    return ExitCode.DONE
