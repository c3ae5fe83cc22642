"""What LLM calls have cost."""

from datetime import UTC, datetime

from evalqueue.evaluators.prices import costs
from evalqueue.http.callers import RequestContext
from evalqueue.http.models import costs as models
from evalqueue.http.models.fields import matching_fields
from evalqueue.http.operations import Operation


async def list_costs(context: RequestContext, request: models.CostsRequest) -> models.Costs:
    now = datetime.now(UTC)
    since = request.since or datetime(now.year, now.month, 1, tzinfo=UTC)
    async with context.connection() as connection:
        found = await costs.costs(
            connection, request.by, since=since, owner=context.caller.visible_owner
        )
    return models.Costs(
        by=request.by,
        since=since,
        costs=[models.CostJson(**matching_fields(models.CostJson, each)) for each in found],
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/costs",
        tag="runs",
        summary="What LLM calls have cost, by model, evaluator, run, owner or month",
        handler=list_costs,
        errors=(503,),
    ),
)
