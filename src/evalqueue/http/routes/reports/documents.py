"""Reports: of runs that the caller may see, and of the run that a link shows to anyone."""

import asyncio
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.responses import Response

from evalqueue.errors import Problem
from evalqueue.evaluators.figures.reports import document, shares
from evalqueue.evaluators.figures.reports.content import NotReportable, report_of
from evalqueue.http.callers import RequestContext, address_of
from evalqueue.http.guards.rate_limits import GuessLimit, TooManyRequests
from evalqueue.http.models.fields import RunId
from evalqueue.http.models.shares import ShareToken
from evalqueue.http.operations import Operation
from evalqueue.http.uploads import InvalidRequest


async def get_run_report(context: RequestContext, request: RunId) -> Response:
    found = await _report(context, request.run_id, owner=context.caller.visible_owner)
    if found is None:
        raise HTTPException(404, "Run not found")
    return found


async def get_shared_report(context: RequestContext, request: ShareToken) -> Response:
    async with context.connection() as connection:
        run_id = await shares.run_shown_by(connection, request.token)
    found = None if run_id is None else await _report(context, run_id, owner=None)
    if found is not None:
        return found
    guesses: GuessLimit = context.scope["app"].state.share_guesses
    digest = shares.digest_of(request.token)
    if wait := guesses.wrong(address_of(context.scope), digest):
        raise TooManyRequests("Too many wrong links came from here. Wait.", wait)
    raise HTTPException(404, "There is no such link, or it has expired or been revoked")


def not_reportable(error: NotReportable) -> InvalidRequest:
    """The response to a run that has no report."""
    problem = Problem(loc=("path", "run_id"), msg=str(error), type="not_reportable")
    return InvalidRequest([problem])


async def _report(context: RequestContext, run_id: UUID, *, owner: str | None) -> Response | None:
    async with context.searches.turn(context.caller), context.connection() as connection:
        try:
            report = await report_of(connection, run_id, owner=owner)
        except NotReportable as error:
            raise not_reportable(error) from error
    if report is None:
        return None
    return Response(
        await asyncio.to_thread(document.html, report),
        media_type=document.MEDIA_TYPE,
        headers={
            "Content-Security-Policy": document.content_security_policy(),
            "Content-Disposition": f'inline; filename="{document.file_name(report)}"',
            "X-Robots-Tag": "noindex, nofollow",
        },
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/report",
        tag="reports",
        summary="A run's report, as one HTML file",
        handler=get_run_report,
        errors=(404, 422, 503),
        media_type=document.MEDIA_TYPE,
    ),
    Operation(
        method="GET",
        path=shares.PATH,
        tag="reports",
        summary="The report that a link shows, as one HTML file",
        handler=get_shared_report,
        ignores_query=True,
        errors=(404, 429, 503),
        media_type=document.MEDIA_TYPE,
    ),
)
