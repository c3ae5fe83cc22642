"""Queues, workers and the audit log.

They have no owner: every caller may read queues and workers, and only administrators may pause a
queue or read the audit log.
"""

from evalqueue import audit
from evalqueue.http.callers import RequestContext
from evalqueue.http.models import fleet as models
from evalqueue.http.operations import EmptyRequest, Operation
from evalqueue.postgres import fleet
from evalqueue.tokens import Right


async def list_queues(context: RequestContext, request: EmptyRequest) -> list[models.Queue]:
    async with context.connection() as connection:
        return [models.Queue.of(state) for state in await fleet.queues(connection)]


async def pause_queue(context: RequestContext, request: models.QueueName) -> models.PausedQueue:
    async with context.connection() as connection:
        is_known = await fleet.is_known(connection, request.queue)
        await fleet.pause(connection, request.queue)
    return models.PausedQueue(name=request.queue, paused=True, is_known=is_known)


async def resume_queue(context: RequestContext, request: models.QueueName) -> models.PausedQueue:
    async with context.connection() as connection:
        is_known = await fleet.is_known(connection, request.queue)
        await fleet.resume(connection, request.queue)
    return models.PausedQueue(name=request.queue, paused=False, is_known=is_known)


async def list_workers(context: RequestContext, request: EmptyRequest) -> list[models.WorkerJson]:
    async with context.connection() as connection:
        leader = await fleet.leader(connection)
        return [models.WorkerJson.of(record, leader) for record in await fleet.workers(connection)]


async def list_audit_entries(
    context: RequestContext, request: models.AuditQuery
) -> list[models.AuditEntryJson]:
    async with context.connection() as connection:
        found = await audit.entries(
            connection, request.wanted, after=request.after, limit=request.limit
        )
    return [models.AuditEntryJson.model_validate(each) for each in found]


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/queues",
        tag="fleet",
        summary="Every queue, with its rules and what is in it",
        handler=list_queues,
        errors=(503,),
    ),
    Operation(
        method="POST",
        path="/api/queues/{queue}/pause",
        tag="fleet",
        summary="Start no jobs of this queue until it is resumed; running jobs continue",
        handler=pause_queue,
        required_right=Right.ADMIN,
        errors=(503,),
    ),
    Operation(
        method="POST",
        path="/api/queues/{queue}/resume",
        tag="fleet",
        summary="Start jobs of this queue again",
        handler=resume_queue,
        required_right=Right.ADMIN,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/workers",
        tag="fleet",
        summary="Every worker, as of its last report",
        handler=list_workers,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/audit",
        tag="fleet",
        summary="Who changed what, newest first",
        handler=list_audit_entries,
        required_right=Right.ADMIN,
        errors=(503,),
    ),
)
