"""Submit, list, look at and cancel jobs."""

from pydantic import TypeAdapter

from evalqueue.client import Client
from evalqueue.http import representations as json
from evalqueue.http.operations import AnyOperation, Operation


async def submit_job(client: Client, asked: json.SubmitJob) -> json.SubmittedJob:
    return json.SubmittedJob.of(await client.submit_params(asked.job_type, asked.params))


async def list_jobs(client: Client, asked: json.JobsQuery) -> list[json.Job]:
    found = await client.list(
        status=asked.status, job_type=asked.job_type, limit=asked.limit, offset=asked.offset
    )
    return [json.Job.of(job) for job in found]


async def get_job(client: Client, asked: json.JobId) -> json.Job:
    return json.Job.of(await client.get(asked.job_id))


async def cancel_job(client: Client, asked: json.JobId) -> json.CancelledJob:
    await client.cancel(asked.job_id)
    return json.CancelledJob(id=asked.job_id)


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
        status=201,
        errors=(503,),
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
)
