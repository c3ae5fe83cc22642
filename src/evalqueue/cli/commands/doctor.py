"""The command that examines database, workers, queues and jobs."""

from dataclasses import asdict, replace

from evalqueue import doctor
from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.cli.output.times import format_time
from evalqueue.doctor import Finding, Level
from evalqueue.environment import problems
from evalqueue.errors import DatabaseUnavailable
from evalqueue.postgres.addresses import without_secrets
from evalqueue.postgres.database import TRANSIENT, Database
from evalqueue.postgres.listener import Listener
from evalqueue.settings import Settings

NOTIFICATION_TIMEOUT_SECONDS = 8.0  # a listener that receives none knows it after five


async def examine(*, as_json: bool) -> ExitCode:
    """Print the findings.

    Returns:
        FAILED if one of them is a problem, else DONE.
    """
    findings = [*_check_settings(), *await _findings()]
    problems = [each for each in findings if each.level is Level.WRONG]
    if as_json:
        console.print_json(
            {"healthy": not problems, "findings": [asdict(each) for each in findings]}
        )
    else:
        for each in findings:
            _print_finding(each)
        console.print_data(f"\n{len(problems)} problem(s)." if problems else "\nNo problems.")
    return ExitCode.FAILED if problems else ExitCode.DONE


def _check_settings() -> list[Finding]:
    from evalqueue import daemon

    return [
        Finding(
            name="settings",
            level=Level.WRONG,
            what=problem,
            fix="Correct it: no process of evalqueue starts with it.",
        )
        for problem in problems(daemon.ALL_SETTINGS)
    ]


async def _findings() -> list[Finding]:
    try:
        async with open_client(verify_schema=False) as client:
            database = await client.database()
            found = await doctor.examine(
                database, keeps_jobs_for_ever=client.settings.keep_jobs_days is None
            )
            notifications = await _check_notifications(database, client.settings)
    except DatabaseUnavailable as error:
        return [doctor.no_database(error, message=str(error))]
    except TRANSIENT as error:
        return [doctor.no_database(error)]
    return [notifications, *found]


async def _check_notifications(database: Database, current: Settings) -> Finding:
    async with Listener(database, []) as listener:
        found = await doctor.notifications_arrive(
            listener, within_seconds=NOTIFICATION_TIMEOUT_SECONDS
        )
    where = "EVALQUEUE_LISTEN_URL" if current.listen_url else "DATABASE_URL"
    address = without_secrets(database.listen_conninfo)
    return replace(found, what=f"{found.what} LISTEN goes by {where}: {address}")


def _print_finding(finding: Finding) -> None:
    since = "" if finding.since is None else f" (since {format_time(finding.since)})"
    console.print_data(f"{finding.level:<5}  {finding.name:<14} {finding.what}{since}")
    if finding.fix:
        console.print_data(f"{'':<5}  {'':<14} → {finding.fix}")
