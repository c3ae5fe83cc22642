"""Watch jobs as they change."""

from starlette.responses import Response

from evalqueue.http.callers import RequestContext
from evalqueue.http.events.streams import EventStream
from evalqueue.http.models.events import JobEvent, QueueEvent, Resync, WatchJob, WatchJobs
from evalqueue.http.models.jobs import JobJson
from evalqueue.http.operations import Operation

LAST_EVENT_ID = {"last_event_id": "Last-Event-ID"}


async def watch_jobs(context: RequestContext, request: WatchJobs) -> Response:
    owner = context.caller.visible_owner
    return await context.broadcaster.watch_jobs(
        owner, request.last_event_id, caller=context.caller.name
    )


async def watch_job(context: RequestContext, request: WatchJob) -> Response:
    owner = context.caller.visible_owner
    stream = await context.broadcaster.watch_job(
        request.job_id, owner, request.last_event_id, caller=context.caller.name
    )
    # Browsers reconnect after the end of a stream. 204 tells them not to.
    return Response(status_code=204) if stream is None else stream


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/events",
        tag="events",
        summary="All jobs as they change, without params and results",
        handler=watch_jobs,
        headers=LAST_EVENT_ID,
        events={"job": JobEvent, "queue": QueueEvent, "resync": Resync},
        media_type=EventStream.media_type,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/jobs/{job_id}/events",
        tag="events",
        summary="One job: its current state, then each change until it is over",
        handler=watch_job,
        headers=LAST_EVENT_ID,
        events={"job": JobJson},
        media_type=EventStream.media_type,
        errors=(404, 503),
    ),
)
