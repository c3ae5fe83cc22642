"""How `deliver-alert` works: at least once, with the same id each time."""

from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import TypedDict

from evalqueue import codec
from evalqueue.context import JobContext
from evalqueue.errors import JobFailed, TryAgain
from evalqueue.evaluators.alerts import store, webhook
from evalqueue.evaluators.alerts.alert import AlertEvent
from evalqueue.evaluators.alerts.job_types import DeliverAlert
from evalqueue.evaluators.alerts.webhook import WebhookSettings
from evalqueue.evaluators.chatbots.protocol import ChatbotError
from evalqueue.evaluators.chatbots.targets import TargetRefused
from evalqueue.settings import Settings

RETRY_SECONDS_MAX = 3600.0
_BASE = 4.0  # seconds: 1, 4, 16, … until the next attempt


class Delivered(TypedDict):
    """The result of the job."""

    delivered: bool
    """False: the alert was removed."""


async def deliver_alert(context: JobContext, params: DeliverAlert) -> Delivered:
    """Send an event to its receiver.

    Raises:
        TryAgain: there was no answer that says that it has arrived.
        JobFailed: the receiver is not allowed here.
    """
    from evalqueue.evaluators.chatbots.transport import StreamLine  # aiohttp, when it is needed

    event = await context.database.until_done(
        partial(store.event, event_id=params.event_id, owner=context.job.owner),
        what=f"Job {context.job.id}",
    )
    if event is None or event.webhook_url is None:
        return {"delivered": False}
    after = min(RETRY_SECONDS_MAX, _BASE**context.job.failed_attempts)
    settings = WebhookSettings.read()
    if settings.key is None:
        raise TryAgain("Set EVALQUEUE_WEBHOOK_SECRET where the workers run", after=after)
    try:
        found = webhook.target(event.webhook_url, settings)
    except TargetRefused as refused:
        raise JobFailed(str(refused)) from None
    body = codec.dump_json(message(event, page=Settings().public_url or "")).encode()
    signed = webhook.headers(
        settings.key, message_id=f"msg_{event.id.hex}", at=datetime.now(UTC), body=body
    )
    try:
        async with aclosing(StreamLine(found.target)) as line:
            status = await line.send(found.suffix, body, signed)
    except ChatbotError as error:
        raise TryAgain(error.message, after=after) from None
    if not 200 <= status < 300:  # noqa: PLR2004  what HTTP calls success
        raise TryAgain(f"{found.target.host} answered HTTP {status}", after=after)
    await context.retry_fenced(partial(store.delivered, event_id=event.id))
    return {"delivered": True}


def message(event: AlertEvent, *, page: str) -> dict[str, object]:
    """What is sent: numbers and links, no texts of conversations.

    Args:
        page: the address that links begin with. "": it is not known, and they are paths.
    """
    links = {
        "run": None if event.run_id is None else f"{page}/runs/{event.run_id}",
        "job": None if event.job_id is None else f"{page}/jobs/{event.job_id}",
    }
    return {
        "type": f"alert.{event.kind}",
        "timestamp": event.created_at.isoformat(),
        "data": {
            "alert": event.name,
            "owner": event.owner,
            "watches": event.watches,
            "app_id": event.app_id,
            "explanation": event.explanation,
            "figures": event.figures,
            "run_id": None if event.run_id is None else str(event.run_id),
            "job_id": None if event.job_id is None else str(event.job_id),
            "links": {name: link for name, link in links.items() if link is not None},
        },
    }
