"""Submit, list, look at, cancel and retry jobs."""

from pydantic import TypeAdapter

from evalqueue.http.callers import Call
from evalqueue.http.models import jobs as json
from evalqueue.http.operations import AnyOperation, Operation
from evalqueue.http.routes.datasets import see


async def submit_job(call: Call, asked: json.SubmitJob) -> json.SubmittedJob:
    await see(call, asked.params.get("dataset_id"))
    job = await call.client.submit_params(
        asked.job_type,
        asked.params,
        owner=call.caller.name,
        idempotency_key=asked.idempotency_key,
        sees=call.caller.sees,
    )
    return json.SubmittedJob.of(job)


async def list_jobs(call: Call, asked: json.JobsQuery) -> list[json.Job]:
    found = await call.client.list(
        status=asked.status,
        job_type=asked.job_type,
        owner=call.caller.sees,
        limit=asked.limit,
        offset=asked.offset,
    )
    return [json.Job.of(job) for job in found]


async def get_job(call: Call, asked: json.JobId) -> json.Job:
    return json.Job.of(await call.client.get(asked.job_id, owner=call.caller.sees))


async def cancel_job(call: Call, asked: json.JobId) -> json.CancelledJob:
    await call.client.cancel(asked.job_id, owner=call.caller.sees)
    return json.CancelledJob(id=asked.job_id)


async def retry_job(call: Call, asked: json.JobId) -> json.RetriedJob:
    return json.RetriedJob.of(await call.client.retry(asked.job_id, owner=call.caller.sees))


async def list_attempts(call: Call, asked: json.JobId) -> list[json.Attempt]:
    found = await call.client.attempts(asked.job_id, owner=call.caller.sees)
    if not found:
        await call.client.get(asked.job_id, owner=call.caller.sees)  # none yet, or no such job?
    return [json.Attempt.of(attempt) for attempt in found]


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="POST",
        path="/api/jobs",
        tag="jobs",
        summary="Submit a job",
        asks=json.SubmitJob,
        in_body=True,
        tells=TypeAdapter(json.SubmittedJob),
        answer=submit_job,
        headers={"idempotency_key": "Idempotency-Key"},
        status=201,
        errors=(409, 503),
    ),
    Operation(
        method="GET",
        path="/api/jobs",
        tag="jobs",
        summary="List jobs, newest first",
        asks=json.JobsQuery,
        tells=TypeAdapter(list[json.Job]),
        answer=list_jobs,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/jobs/{job_id}",
        tag="jobs",
        summary="One job: its status, progress and result",
        asks=json.JobId,
        tells=TypeAdapter(json.Job),
        answer=get_job,
        errors=(404, 503),
    ),
    Operation(
        method="POST",
        path="/api/jobs/{job_id}/cancel",
        tag="jobs",
        summary="Cancel a queued or running job",
        asks=json.JobId,
        tells=TypeAdapter(json.CancelledJob),
        answer=cancel_job,
        errors=(400, 404, 503),
    ),
    Operation(
        method="POST",
        path="/api/jobs/{job_id}/retry",
        tag="jobs",
        summary="Go on with a job that is over and did not get everything done",
        asks=json.JobId,
        tells=TypeAdapter(json.RetriedJob),
        answer=retry_job,
        status=201,
        errors=(404, 409, 503),
    ),
    Operation(
        method="GET",
        path="/api/jobs/{job_id}/attempts",
        tag="jobs",
        summary="What was tried so far, oldest first",
        asks=json.JobId,
        tells=TypeAdapter(list[json.Attempt]),
        answer=list_attempts,
        errors=(404, 503),
    ),
)
