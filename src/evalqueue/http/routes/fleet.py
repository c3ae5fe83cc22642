"""What there is to work, and who does: queues and workers.

They are everybody's: whoever may call may look, and only an admin may stop a queue.
"""

from pydantic import TypeAdapter

from evalqueue.http.callers import Call
from evalqueue.http.models import fleet as json
from evalqueue.http.operations import AnyOperation, Nothing, Operation
from evalqueue.postgres import fleet
from evalqueue.tokens import Right


async def list_queues(call: Call, _asked: Nothing) -> list[json.Queue]:
    async with (await call.client.database()).connection() as connection:
        return [json.Queue.of(state) for state in await fleet.queues(connection)]


async def pause_queue(call: Call, asked: json.QueueName) -> json.PausedQueue:
    async with (await call.client.database()).connection() as connection:
        await fleet.pause(connection, asked.queue)
    return json.PausedQueue(name=asked.queue, paused=True)


async def resume_queue(call: Call, asked: json.QueueName) -> json.PausedQueue:
    async with (await call.client.database()).connection() as connection:
        await fleet.resume(connection, asked.queue)
    return json.PausedQueue(name=asked.queue, paused=False)


async def list_workers(call: Call, _asked: Nothing) -> list[json.Worker]:
    async with (await call.client.database()).connection() as connection:
        leader = await fleet.leader(connection)
        return [json.Worker.of(record, leader) for record in await fleet.workers(connection)]


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/api/queues",
        tag="fleet",
        summary="Every queue, with its rules and what is in it",
        asks=Nothing,
        tells=TypeAdapter(list[json.Queue]),
        answer=list_queues,
        errors=(503,),
    ),
    Operation(
        method="POST",
        path="/api/queues/{queue}/pause",
        tag="fleet",
        summary="Start nothing of this queue until it is resumed; what runs goes on",
        asks=json.QueueName,
        tells=TypeAdapter(json.PausedQueue),
        answer=pause_queue,
        needs=Right.ADMIN,
        errors=(503,),
    ),
    Operation(
        method="POST",
        path="/api/queues/{queue}/resume",
        tag="fleet",
        summary="Start jobs of this queue again",
        asks=json.QueueName,
        tells=TypeAdapter(json.PausedQueue),
        answer=resume_queue,
        needs=Right.ADMIN,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/workers",
        tag="fleet",
        summary="Every worker, as it last said",
        asks=Nothing,
        tells=TypeAdapter(list[json.Worker]),
        answer=list_workers,
        errors=(503,),
    ),
)
