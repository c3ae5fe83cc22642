"""Alerts of the caller; administrators see all."""

from starlette.exceptions import HTTPException

from evalqueue.evaluators.alerts import store
from evalqueue.evaluators.alerts.alert import Alert
from evalqueue.evaluators.alerts.job_types import DELIVERIES_MAX, DeliverAlert
from evalqueue.evaluators.alerts.store import AlertRefused
from evalqueue.http.callers import RequestContext
from evalqueue.http.models import alerts as models
from evalqueue.http.operations import Operation
from evalqueue.postgres.database import Connection


async def list_alerts(context: RequestContext, request: models.AlertsQuery) -> models.Alerts:
    async with context.connection() as connection:
        found = await store.alerts(
            connection,
            owner=context.caller.visible_owner,
            firing=request.firing,
            limit=request.limit,
        )
    return models.Alerts(alerts=[models.AlertJson.of(each) for each in found])


async def add_alert(context: RequestContext, request: models.AddAlert) -> models.AlertJson:
    async with context.connection() as connection:
        try:
            added = await store.add(
                connection, request, owner=context.caller.name, job_types=context.client.job_types
            )
        except AlertRefused as refused:
            raise HTTPException(409, str(refused)) from None
    return models.AlertJson.of(added)


async def delete_alert(context: RequestContext, request: models.AlertKey) -> models.RemovedAlert:
    async with context.connection() as connection:
        alert = await _visible(connection, context, request)
        if not await store.remove(connection, alert.id):
            raise HTTPException(404, "Alert not found")
    return models.RemovedAlert(id=alert.id, name=alert.name)


async def test_alert(context: RequestContext, request: models.AlertKey) -> models.TestedAlert:
    database = await context.client.database()
    async with context.connection() as connection:
        alert = await _visible(connection, context, request)
    if alert.webhook_url is None:
        raise HTTPException(
            409, "The alert has no webhook: its events are in the worker's log only"
        )
    async with database.transaction() as connection:
        event_id = await store.test(connection, alert)
        job = await context.client.submit(
            DeliverAlert(event_id=event_id),
            connection=connection,
            owner=alert.owner,
            max_attempts=DELIVERIES_MAX,
        )
    return models.TestedAlert(event_id=event_id, job_id=job.id)


async def _visible(
    connection: Connection, context: RequestContext, request: models.AlertKey
) -> Alert:
    found = await store.meant(connection, str(request.alert_id), owner=context.caller.visible_owner)
    alert = next((each for each in found if each.id == request.alert_id), None)
    if alert is None:
        raise HTTPException(404, "Alert not found")
    return alert


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/alerts",
        tag="alerts",
        summary="Alerts, those that fire first",
        handler=list_alerts,
        errors=(503,),
    ),
    Operation(
        method="POST",
        path="/api/alerts",
        tag="alerts",
        summary="Watch rates, coverage, drift or failures",
        in_body=True,
        handler=add_alert,
        status=201,
        errors=(409, 503),
    ),
    Operation(
        method="DELETE",
        path="/api/alerts/{alert_id}",
        tag="alerts",
        summary="Remove an alert",
        handler=delete_alert,
        errors=(404, 503),
    ),
    Operation(
        method="POST",
        path="/api/alerts/{alert_id}/test",
        tag="alerts",
        summary="Send a test message to the webhook of an alert",
        handler=test_alert,
        errors=(404, 409, 503),
    ),
)
