"""The commands about jobs: submit, retry, status, watch, cancel."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from evalqueue.cli.commands.connection import open_client, register_job_types
from evalqueue.cli.commands.conversations.datasets import find_dataset
from evalqueue.cli.commands.runs.references import find_job_id, find_run, is_adversarial
from evalqueue.cli.commands.runs.showing import print_run
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import EXIT_CODE_OF_STATUS, ExitCode
from evalqueue.cli.output.jobs import job_json, print_job, print_jobs
from evalqueue.cli.output.progress import ProgressLine
from evalqueue.client import Client
from evalqueue.errors import NotRetryable
from evalqueue.jobs import Job, JobStatus
from evalqueue.jobtypes import AdmissionContext, JobParams


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOptions:
    """The options of a job besides its type and params."""

    owner: str = "default"
    priority: int = 0
    scheduled_at: datetime | None = None
    queue: str | None = None
    idempotency_key: str | None = None


async def submit(
    job_type: str,
    params: Mapping[str, Any],
    options: SubmitOptions,
    *,
    after: str | None,
    watch: bool,
    as_json: bool,
) -> ExitCode:
    """Submit a job, and follow it if `watch` is set."""
    async with open_client() as client:
        register_job_types(client)
        given = client.job_types.decode(job_type, await _with_dataset(client, params))
        job = await client.submit(
            given,
            owner=options.owner,
            priority=options.priority,
            scheduled_at=options.scheduled_at,
            queue=options.queue,
            idempotency_key=options.idempotency_key,
            after=None if after is None else await find_job_id(client, after),
        )
        await _print_warnings(client, job, given)
        return await _print_submitted(client, job, watch=watch, as_json=as_json)


async def retry(given: str, *, everything: bool, watch: bool, as_json: bool) -> ExitCode:
    """Submit a job that continues one that is over, or that does all of it again."""
    async with open_client() as client:
        register_job_types(client)
        job_id = await find_job_id(client, given)
        if everything:
            job = await _submit_again(client, await client.get(job_id))
        else:
            job = await client.retry(job_id)
        return await _print_submitted(client, job, watch=watch, as_json=as_json)


async def _submit_again(client: Client, old: Job) -> Job:
    if old.parent_id is not None:
        raise NotRetryable(
            f"Job {old.id} is a helper of job {old.parent_id}. Retry that job instead."
        )
    return await client.submit(
        client.job_types.decode(old.job_type, old.params),
        owner=old.owner,
        priority=old.priority,
        queue=old.queue,
        max_attempts=old.max_attempts,
    )


async def _print_warnings(client: Client, job: Job, given: JobParams) -> None:
    """Print what a person should know about a job that was submitted."""
    admission = AdmissionContext(
        settings=client.settings, database=await client.database(), owner=job.owner
    )
    params = client.job_types.decode(job.job_type, job.params)
    for each in await params.warnings(admission, given):
        console.print_message(f"Warning: {each}")


async def _with_dataset(client: Client, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """The params with the whole id of the dataset that they name by a part of it, or by its name.

    Raises:
        Refused: it could be several.
    """
    given = params.get("dataset_id")
    if not isinstance(given, str) or not given:
        return params
    async with (await client.database()).connection() as connection:
        found = await find_dataset(connection, given)
    return params if found is None else {**params, "dataset_id": found.id}


async def _print_found(client: Client, job: Job, *, as_json: bool) -> None:
    """Print what the run of a job has found, and what is missing. As JSON it is in the job's
    result."""
    if job.run_id is not None and not as_json:
        run = await find_run(client, str(job.run_id))
        if not is_adversarial(run):
            await print_run(client, run)
    if job.result is not None and job.result.get("incomplete"):
        console.print_message(
            f"Incomplete. {job.result.get('message', '')}\n"
            f"To ask again for what is missing: evalqueue retry {job.id}"
        )


async def _print_submitted(client: Client, job: Job, *, watch: bool, as_json: bool) -> ExitCode:
    """Print a new job's id, and follow the job if `watch` is set."""
    if not as_json:
        console.print_data(str(job.id))
    elif not watch:
        console.print_json(job_json(job))
    if watch:
        job = await follow_job(client, job.id, as_json=as_json)
        await _print_found(client, job, as_json=as_json)
        return EXIT_CODE_OF_STATUS[job.status]
    console.print_message(f"Submitted. To follow it: evalqueue watch {job.id}")
    return ExitCode.DONE


async def list_jobs(
    status: JobStatus | None, job_type: str | None, limit: int, *, as_json: bool
) -> ExitCode:
    """Print the newest jobs."""
    async with open_client() as client:
        jobs = await client.list(status=status, job_type=job_type, limit=limit)
    if as_json:
        console.print_json([job_json(job) for job in jobs])
    elif jobs:
        print_jobs(jobs)
    else:
        console.print_message("No jobs.")
    return ExitCode.DONE


async def show(given: str, *, as_json: bool) -> ExitCode:
    """Print one job and its attempts."""
    async with open_client() as client:
        job_id = await find_job_id(client, given)
        job = await client.get(job_id)
        attempts = await client.attempts(job_id)
    if as_json:
        console.print_json(job_json(job, attempts))
    else:
        print_job(job, attempts)
    return ExitCode.DONE


async def watch(given: str, *, as_json: bool) -> ExitCode:
    """Follow a job until it ends, and print what its run has found."""
    async with open_client() as client:
        job = await follow_job(client, await find_job_id(client, given), as_json=as_json)
        await _print_found(client, job, as_json=as_json)
    return EXIT_CODE_OF_STATUS[job.status]


async def cancel(given: str, *, as_json: bool) -> ExitCode:
    """Cancel a job."""
    async with open_client() as client:
        job_id = await find_job_id(client, given)
        await client.cancel(job_id)
    document = {"id": job_id, "status": JobStatus.CANCELLED}
    console.print_result(document, f"cancelled {job_id}", as_json=as_json)
    return ExitCode.DONE


async def follow_job(client: Client, job_id: UUID, *, as_json: bool = False) -> Job:
    """Show each change of a job until it ends. When this is interrupted, the job continues."""
    job = await client.get(job_id)
    try:
        with ProgressLine() as line:
            async for job in client.watch(job_id):
                if as_json:
                    console.print_json(job_json(job))
                line.show(job)
    except asyncio.CancelledError:
        if not job.status.is_over:
            console.print_message(
                f"Stopped watching; job {job_id} continues. To cancel it: evalqueue cancel {job_id}"
            )
        raise
    if job.error_message:
        console.print_message(job.error_message)
    return job
