"""Submit, list, read, cancel and retry jobs."""

from evalqueue.http.callers import RequestContext
from evalqueue.http.models import jobs as models
from evalqueue.http.models.fields import JobId
from evalqueue.http.operations import Operation
from evalqueue.http.routes.datasets import check_dataset


async def submit_job(context: RequestContext, request: models.SubmitJob) -> models.SubmittedJob:
    await check_dataset(context, request.params.get("dataset_id"))
    job = await context.client.submit_params(
        request.job_type,
        request.params,
        owner=context.caller.name,
        idempotency_key=request.idempotency_key,
        sees=context.caller.visible_owner,
    )
    return models.SubmittedJob.of(job)


async def list_jobs(context: RequestContext, request: models.JobsQuery) -> list[models.JobJson]:
    jobs = await context.client.list(
        status=request.status,
        job_type=request.job_type,
        owner=context.caller.visible_owner,
        limit=request.limit,
        offset=request.offset,
    )
    return [models.JobJson.of(job) for job in jobs]


async def get_job(context: RequestContext, request: JobId) -> models.JobJson:
    return models.JobJson.of(
        await context.client.get(request.job_id, owner=context.caller.visible_owner)
    )


async def cancel_job(context: RequestContext, request: JobId) -> models.CancelledJob:
    await context.client.cancel(request.job_id, owner=context.caller.visible_owner)
    return models.CancelledJob(id=request.job_id)


async def retry_job(context: RequestContext, request: JobId) -> models.RetriedJob:
    return models.RetriedJob.of(
        await context.client.retry(request.job_id, owner=context.caller.visible_owner)
    )


async def list_attempts(context: RequestContext, request: JobId) -> list[models.AttemptJson]:
    owner = context.caller.visible_owner
    attempts = await context.client.attempts(request.job_id, owner=owner)
    if not attempts:
        await context.client.get(request.job_id, owner=owner)  # raises if there is no such job
    return [models.AttemptJson.of(attempt) for attempt in attempts]


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="/api/jobs",
        tag="jobs",
        summary="Submit a job",
        in_body=True,
        handler=submit_job,
        headers={"idempotency_key": "Idempotency-Key"},
        status=201,
        errors=(409, 503),
    ),
    Operation(
        method="GET",
        path="/api/jobs",
        tag="jobs",
        summary="List jobs, newest first",
        handler=list_jobs,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/jobs/{job_id}",
        tag="jobs",
        summary="One job: its status, progress and result",
        handler=get_job,
        errors=(404, 503),
    ),
    Operation(
        method="POST",
        path="/api/jobs/{job_id}/cancel",
        tag="jobs",
        summary="Cancel a queued or running job",
        handler=cancel_job,
        errors=(400, 404, 503),
    ),
    Operation(
        method="POST",
        path="/api/jobs/{job_id}/retry",
        tag="jobs",
        summary="Continue a job that is over but incomplete, as a new job",
        handler=retry_job,
        status=201,
        errors=(404, 409, 503),
    ),
    Operation(
        method="GET",
        path="/api/jobs/{job_id}/attempts",
        tag="jobs",
        summary="The attempts at a job, oldest first",
        handler=list_attempts,
        errors=(404, 503),
    ),
)
