"""The commands about schedules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalqueue.cli.commands.connection import open_client, register_job_types
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.cli.output.times import format_time
from evalqueue.errors import Refused
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres import schedules
from evalqueue.postgres.schedules import Schedule
from evalqueue.problems import line_problem

NAME_MAX = 100  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleOptions:
    """The options of a new schedule; its params are not checked yet."""

    name: str
    cron: str
    timezone: str
    job_type: str
    params: Mapping[str, Any]
    owner: str
    queue: str | None
    priority: int


async def list_schedules(*, as_json: bool) -> ExitCode:
    """Print every schedule."""
    async with open_client() as client, (await client.database()).connection() as connection:
        found = await schedules.list_all(connection)
    if as_json:
        console.print_json([console.row_json(each) for each in found])
    elif not found:
        console.print_message("No schedules. To add one: evalqueue schedules add --help")
    else:
        console.print_table(
            ("name", "cron", "time zone", "job type", "next", "last", "last job"),
            [
                (
                    each.name, each.cron, each.timezone, each.job_type,
                    "paused" if each.paused_at else format_time(each.next_at),
                    format_time(each.last_at), each.last_job_id or "",
                )
                for each in found
            ],
        )  # fmt: skip
    return ExitCode.DONE


async def add_schedule(options: ScheduleOptions, *, as_json: bool) -> ExitCode:
    """Store a schedule, after checking the params of its jobs.

    Raises:
        Refused: its name, cron expression, time zone, job type or params are not valid.
    """
    if not 1 <= len(options.name) <= NAME_MAX:
        raise Refused(f"name: it must have 1 to {NAME_MAX} characters.")
    if problem := line_problem(options.name):
        raise Refused(f"name: {problem}.")
    async with open_client() as client:
        register_job_types(client)
        database = await client.database()
        params = client.job_types.decode(options.job_type, options.params)
        admitted = await params.admit(
            AdmissionContext(
                settings=client.settings, database=database, owner=options.owner, is_due=False
            )
        )
        async with database.connection() as connection:
            now = await schedules.now(connection)
            schedule = Schedule(
                name=options.name,
                cron=options.cron,
                timezone=options.timezone,
                job_type=options.job_type,
                params=admitted.lasting(),
                owner=options.owner,
                queue=options.queue or client.settings.queue,
                priority=options.priority,
                max_attempts=3,
                next_at=schedules.next_time(options.cron, options.timezone, now),
            )
            await schedules.put(connection, schedule)
    text = f"{schedule.name}: next at {schedule.next_at.isoformat()}"
    console.print_result(console.row_json(schedule), text, as_json=as_json)
    return ExitCode.DONE


async def pause_schedule(name: str, *, as_json: bool) -> ExitCode:
    """Submit no more jobs by a schedule."""
    async with open_client() as client, (await client.database()).connection() as connection:
        found = await schedules.pause(connection, name)
    return _print_changed(name, "paused", {"paused": True}, found=found, as_json=as_json)


async def resume_schedule(name: str, *, as_json: bool) -> ExitCode:
    """Continue a schedule from now on."""
    async with open_client() as client, (await client.database()).connection() as connection:
        found = await schedules.resume(connection, name)
    return _print_changed(name, "resumed", {"paused": False}, found=found, as_json=as_json)


async def remove_schedule(name: str, *, as_json: bool) -> ExitCode:
    """Delete a schedule; its jobs stay."""
    async with open_client() as client, (await client.database()).connection() as connection:
        found = await schedules.remove(connection, name)
    return _print_changed(name, "removed", {"removed": True}, found=found, as_json=as_json)


def _print_changed(
    name: str, change: str, state: Mapping[str, bool], *, found: bool, as_json: bool
) -> ExitCode:
    if not found:
        console.print_message(f"There is no schedule {name!r}. To list them: evalqueue schedules")
        return ExitCode.NOT_FOUND
    console.print_result({"name": name, **state}, f"{change} {name}", as_json=as_json)
    return ExitCode.DONE
