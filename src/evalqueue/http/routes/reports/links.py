"""Links to reports: made, listed and revoked by the owner of the run."""

from uuid import UUID

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from evalqueue.evaluators.figures.reports import shares
from evalqueue.evaluators.figures.reports.content import NotReportable
from evalqueue.evaluators.figures.reports.shares import NotShared
from evalqueue.evaluators.runs import reading
from evalqueue.evaluators.runs.reading import Run
from evalqueue.http.callers import RequestContext
from evalqueue.http.guards.origins import is_allowed_origin
from evalqueue.http.guards.root_path import root_path_of
from evalqueue.http.models import shares as models
from evalqueue.http.models.fields import RunId, matching_fields
from evalqueue.http.operations import Operation
from evalqueue.http.routes.reports.documents import not_reportable
from evalqueue.postgres.database import Connection
from evalqueue.tokens import Right


async def share_run(context: RequestContext, request: models.ShareRun) -> models.SharedRun:
    async with context.connection() as connection:
        run = await _run(context, connection, request.run_id)
        try:
            made = await shares.add(connection, run, days=request.days)
        except NotReportable as error:
            raise not_reportable(error) from error
        except NotShared as error:
            raise HTTPException(409, str(error)) from error
    url = f"{_page_address(context)}{made.path}"
    return models.SharedRun(**matching_fields(models.SharedRun, made.share), url=url)


async def list_run_shares(context: RequestContext, request: RunId) -> models.RunShares:
    async with context.connection() as connection:
        run = await _run(context, connection, request.run_id)
        found = await shares.of_run(connection, run.id)
    return models.RunShares(
        run_id=run.id, shares=[models.RunShareJson.model_validate(each) for each in found]
    )


async def revoke_run_share(
    context: RequestContext, request: models.ShareKey
) -> models.RunShareJson:
    async with context.connection() as connection:
        run = await _run(context, connection, request.run_id)
        revoked = await shares.revoke(connection, run.id, request.share_id)
    if revoked is None:
        raise HTTPException(404, "Link not found")
    return models.RunShareJson.model_validate(revoked)


async def _run(context: RequestContext, connection: Connection, run_id: UUID) -> Run:
    run = await reading.get_run(connection, run_id, owner=context.caller.visible_owner)
    if run is None:
        raise HTTPException(404, "Run not found")
    return run


def _page_address(context: RequestContext) -> str:
    """Where people find the page: by the settings, or as the caller has reached it. Browsers say
    that themselves, also behind a proxy that terminates TLS."""
    if public := context.client.settings.public_url:
        return public
    headers, root_path = Headers(scope=context.scope), root_path_of(context.scope)
    if is_allowed_origin(headers, ()):
        return f"{headers['origin']}{root_path}"
    address = Request(context.scope).url
    return f"{address.scheme}://{address.netloc}{root_path}"


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="/api/eval-runs/{run_id}/share",
        tag="reports",
        summary="Make a link that shows a run's report without a token, until it expires",
        handler=share_run,
        in_body=True,
        status=201,
        errors=(404, 409, 422, 503),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/share",
        tag="reports",
        summary="The links to a run's report that are good, without their tokens",
        handler=list_run_shares,
        required_right=Right.SUBMIT,
        errors=(404, 503),
    ),
    Operation(
        method="DELETE",
        path="/api/eval-runs/{run_id}/share/{share_id}",
        tag="reports",
        summary="Revoke a link to a run's report",
        handler=revoke_run_share,
        errors=(404, 503),
    ),
)
