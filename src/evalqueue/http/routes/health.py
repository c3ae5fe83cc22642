"""Health checks for people, supervisors and load balancers, and metrics for Prometheus."""

import asyncio

from starlette.responses import Response

import evalqueue
from evalqueue import doctor
from evalqueue.doctor import Finding, Level
from evalqueue.errors import DatabaseUnavailable
from evalqueue.http.callers import RequestContext
from evalqueue.http.error_responses import NotReady
from evalqueue.http.models import fleet as models
from evalqueue.http.operations import EmptyRequest, Operation
from evalqueue.http.request_metrics import ApiMetrics
from evalqueue.metrics.registry import MEDIA_TYPE
from evalqueue.postgres import health
from evalqueue.postgres.database import TRANSIENT
from evalqueue.telemetry import tasks

READY_TIMEOUT_SECONDS = 3.0  # a probe must not take as long as a request may
MARGIN_SECONDS = 0.5  # before the timeout, at which the slowest check gives up and says why
REQUIRED_CHECKS = ("database", "schema", "notifications")

_cancelled: set[asyncio.Task[list[Finding]]] = set()
"""Checks that timed out. A driver ends a statement only when the server confirms it."""


async def get_health(context: RequestContext, request: EmptyRequest) -> models.Health:
    return models.Health()


async def get_readiness(context: RequestContext, request: EmptyRequest) -> models.Ready:
    findings: dict[str, Finding] = {}
    checking = tasks.start(_check(context, findings), name="readiness")
    _cancelled.add(checking)
    checking.add_done_callback(_cancelled.discard)
    await asyncio.wait({checking}, timeout=READY_TIMEOUT_SECONDS)
    if checking.done():
        warnings = checking.result()
    else:
        checking.cancel()
        warnings = []  # the required checks may have finished
        findings.setdefault("database", doctor.no_database(TimeoutError()))
    required = [findings.get(name) or doctor.not_looked_at(name) for name in REQUIRED_CHECKS]
    checks = [models.Check.of(each) for each in required]
    for each in required:
        if each.level is not Level.OK:
            reason = f"{each.what} What to do: {each.fix}"
            raise NotReady(
                models.Unready(detail=reason, version=evalqueue.__version__, checks=checks)
            )
    return models.Ready(
        version=evalqueue.__version__,
        checks=checks,
        # Problems of the workers don't make the API unready: jobs can still be submitted, read and
        # cancelled.
        warnings=[models.Check.of(each) for each in warnings],
    )


async def _check(context: RequestContext, findings: dict[str, Finding]) -> list[Finding]:
    """Fill `findings` with one required check after the other. Returns warnings about the fleet."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READY_TIMEOUT_SECONDS - MARGIN_SECONDS
    try:
        database = await context.client.database()
        findings["database"] = await doctor.answers(database)
        findings["schema"] = await doctor.schema_is_current(database)
        left = deadline - loop.time()
        findings["notifications"] = await doctor.notifications_arrive(
            await context.client.listener(), within_seconds=left
        )
        if any(each.level is not Level.OK for each in findings.values()):
            return []
        async with database.connection() as connection:
            return doctor.warnings(await health.health(connection))
    except (DatabaseUnavailable, *TRANSIENT) as error:
        findings["database"] = doctor.no_database(error)
        return []


async def get_metrics(context: RequestContext, request: EmptyRequest) -> Response:
    metrics: ApiMetrics = context.scope["app"].state.metrics
    await metrics.refresh(context.client)
    return Response(metrics.expose(), media_type=MEDIA_TYPE)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/healthz",
        tag="health",
        summary="The process is alive",
        handler=get_health,
        ignores_query=True,
    ),
    Operation(
        method="GET",
        path="/readyz",
        tag="health",
        summary="The database answers, its schema is current, and notifications arrive",
        handler=get_readiness,
        ignores_query=True,
        errors=(503,),
        error_models={503: models.Unready},
    ),
    Operation(
        method="GET",
        path="/metrics",
        tag="health",
        summary="Metrics in Prometheus's text format",
        handler=get_metrics,
        ignores_query=True,
        media_type=MEDIA_TYPE,
    ),
)
