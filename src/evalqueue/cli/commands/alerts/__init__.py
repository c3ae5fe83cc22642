"""The commands about alerts."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.cli.output.times import format_time
from evalqueue.errors import NothingMeant, Refused
from evalqueue.evaluators.alerts import store
from evalqueue.evaluators.alerts.alert import Alert, ListedAlert, NewAlert
from evalqueue.evaluators.alerts.job_types import DELIVERIES_MAX, DeliverAlert
from evalqueue.postgres.database import Connection
from evalqueue.problems import explained

LIST_MAX = 1000


async def list_alerts(*, as_json: bool) -> ExitCode:
    """Print every alert, those that fire first."""
    async with open_client() as client, (await client.database()).connection() as connection:
        found = await store.alerts(connection, owner=None, limit=LIST_MAX)
    if as_json:
        console.print_json([_as_json(each) for each in found])
    elif not found:
        console.print_message("No alerts. To add one: evalqueue alerts add --help")
    else:
        console.print_table(
            ("id", "name", "owner", "watches", "what", "sent to", "firing since", "why"),
            [
                (
                    each.id, each.name, each.owner, each.watches, _what(each),
                    each.webhook_origin or "", format_time(each.firing_since),
                    (each.explanation or "") if each.firing_since is not None else "",
                )
                for each in found
            ],
        )  # fmt: skip
    return ExitCode.DONE


async def add_alert(given: Mapping[str, Any], *, owner: str, as_json: bool) -> ExitCode:
    """Store an alert.

    Raises:
        Refused: something about it is wrong, or there is one of this name, or too many.
    """
    try:
        new = NewAlert.model_validate(given)
    except ValidationError as error:
        lines = [
            ": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"])))
            for each in explained(error)
        ]
        raise Refused("\n".join(lines)) from error
    async with open_client() as client, (await client.database()).connection() as connection:
        added = await store.add(connection, new, owner=owner, job_types=client.job_types)
    console.print_result(_as_json(added), f"{added.name}: added", as_json=as_json)
    return ExitCode.DONE


async def remove_alert(alert: str, *, as_json: bool) -> ExitCode:
    """Delete an alert with its events."""
    async with open_client() as client, (await client.database()).connection() as connection:
        found = await _meant(connection, alert)
        await store.remove(connection, found.id)
    document = {"id": str(found.id), "name": found.name, "removed": True}
    console.print_result(document, f"removed {found.name}", as_json=as_json)
    return ExitCode.DONE


async def test_alert(alert: str, *, as_json: bool) -> ExitCode:
    """Have a worker send a message that tells nothing.

    Raises:
        Refused: the alert has no webhook.
    """
    async with open_client() as client, (await client.database()).transaction() as connection:
        found = await _meant(connection, alert)
        if found.webhook_url is None:
            raise Refused(f"{found.name} has no webhook: its events are in the worker's log only")
        event_id = await store.test(connection, found)
        job = await client.submit(
            DeliverAlert(event_id=event_id), connection=connection, owner=found.owner,
            max_attempts=DELIVERIES_MAX,
        )  # fmt: skip
    document = {"event_id": str(event_id), "job_id": str(job.id)}
    console.print_result(document, f"job {job.id} sends it", as_json=as_json)
    return ExitCode.DONE


async def _meant(connection: Connection, alert: str) -> Alert:
    found = await store.meant(connection, alert, owner=None)
    if not found:
        raise NothingMeant(f"There is no alert {alert!r}. To list them: evalqueue alerts")
    if len(found) > 1:
        raise Refused(f"Several owners have an alert {alert!r}: give its id")
    return found[0]


def _as_json(alert: Alert) -> dict[str, Any]:
    """Without the address, which may have a secret in it."""
    row = console.row_json(alert)
    del row["webhook_url"]
    return {**row, "webhook_origin": alert.webhook_origin}


def _what(alert: ListedAlert) -> str:
    bound = "" if alert.min_coverage is None else f"coverage >= {alert.min_coverage:g}"
    parts = (alert.app_id, *alert.requirements, alert.evaluator, bound, alert.job_type)
    return ", ".join(filter(None, parts))
