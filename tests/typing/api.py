"""Never run, only type-checked: what the public API promises to a strict checker."""

from typing import Any, assert_type
from uuid import UUID

import psycopg

import evalqueue
from evalqueue import Client, Handlers, Job, JobContext, JobParams, JobStatus, Progress
from evalqueue.evaluators import EvaluateBatch


class Greet(JobParams, job_type="greet"):
    name: str


handlers = Handlers()


@handlers.handles(Greet)
async def greet(context: JobContext, params: Greet) -> dict[str, Any]:
    assert_type(params.name, str)
    assert_type(context.job, Job)
    context.progress(1, 2, "half way", colour="blue")
    return {"greeted": params.name}


@evalqueue.register_job_handler("count-items")
async def count(job_id: Any, params: dict[str, Any]) -> dict[str, Any]:
    await evalqueue.update_job_progress(job_id, 1, params["total_items"], "one")
    return {}


async def submit(client: Client, connection: psycopg.AsyncConnection) -> None:
    job = await client.submit(EvaluateBatch(data_path="chats.csv"), connection=connection)
    assert_type(job.id, UUID)
    assert_type(job.status, JobStatus)
    assert_type(job.progress, Progress)
    async for change in client.watch(job.id):
        assert_type(change, Job)
    assert_type(await client.wait(job.id, timeout=10), Job)
    await client.cancel(job.id)
