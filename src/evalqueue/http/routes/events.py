"""Follow jobs as they change, instead of asking again and again."""

from pydantic import InstanceOf, TypeAdapter
from starlette.responses import Response

from evalqueue.http.callers import Call
from evalqueue.http.events.streams import EventStream
from evalqueue.http.models import events as news
from evalqueue.http.models import jobs as json
from evalqueue.http.operations import AnyOperation, Operation

SAYS_NO_MORE: TypeAdapter[Response] = TypeAdapter(InstanceOf[Response])
LAST_EVENT_ID = {"last_event_id": "Last-Event-ID"}


async def follow_jobs(call: Call, asked: news.FollowJobs) -> Response:
    return await call.broadcaster.follow(call.caller.sees, asked.last_event_id)


async def follow_job(call: Call, asked: news.FollowJob) -> Response:
    stream = await call.broadcaster.follow_job(asked.job_id, call.caller.sees, asked.last_event_id)
    # A browser comes back after every end, until it is told that there is nothing more.
    return Response(status_code=204) if stream is None else stream


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/api/events",
        tag="events",
        summary="All jobs as they change, without params and results",
        asks=news.FollowJobs,
        headers=LAST_EVENT_ID,
        tells=SAYS_NO_MORE,
        events={"job": news.JobEvent, "queue": news.QueueEvent, "resync": news.Resync},
        media_type=EventStream.media_type,
        answer=follow_jobs,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/jobs/{job_id}/events",
        tag="events",
        summary="One job: as it is, then each time it changed, until it is over",
        asks=news.FollowJob,
        headers=LAST_EVENT_ID,
        tells=SAYS_NO_MORE,
        events={"job": json.Job},
        media_type=EventStream.media_type,
        answer=follow_job,
        errors=(404, 503),
    ),
)
