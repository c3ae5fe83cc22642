"""A batch in economy mode: one attempt at it, until it waits for the vendor."""

from collections.abc import Sequence

from evalqueue.context import Checkpoint
from evalqueue.errors import Postponed
from evalqueue.evaluators.batch.economy import store
from evalqueue.evaluators.batch.economy.rounds import BatchRounds
from evalqueue.evaluators.batch.economy.settings import EconomySettings
from evalqueue.evaluators.batch.economy.store import OpenBatch
from evalqueue.evaluators.batch.thread_work import EconomyThreadWork, ThreadInputs
from evalqueue.evaluators.providers.policy import LlmCaller
from evalqueue.evaluators.runs.call_log import CallLog
from evalqueue.postgres.database import Connection


async def work_in_rounds(
    inputs: ThreadInputs,
    thread_ids: Sequence[str],
    checkpoint: Checkpoint,
    caller: LlmCaller,
    call_log: CallLog,
) -> None:
    """Look at the batches that are open; visit the conversations; submit what they ask.

    Raises:
        Postponed: the job waits for the vendor, without a slot.
        YieldSlot: other jobs wait for this slot.
        ProviderError: the vendor or a cap refuses the batches.
    """
    attempt = inputs.attempt
    context = attempt.context
    rounds = BatchRounds(
        context,
        caller.provider,
        call_log,
        attempt.prices,
        run_id=attempt.run_id,
        job_id=attempt.job_id,
        max_questions=EconomySettings().evalqueue_batch_questions,
    )

    async def open_batches(connection: Connection) -> list[OpenBatch]:
        return await store.open_of_run(connection, attempt.run_id)

    async def visited_threads(connection: Connection) -> frozenset[str]:
        return await store.visited(connection, attempt.job_id)

    what = f"Job {context.job.id}"
    try:
        await rounds.look(await context.database.until_done(open_batches, what=what))
        visited = await context.database.until_done(visited_threads, what=what)
        await context.map(
            thread_ids,
            EconomyThreadWork(inputs, caller, call_log, visited),
            checkpoint=checkpoint,
            concurrency=inputs.params.concurrency,
        )
        if await rounds.hand_in(caller):
            await rounds.postpone(0.0)
    except Postponed as waiting:
        context.progress(_finished(checkpoint), len(thread_ids), str(waiting))
        raise


def _finished(checkpoint: Checkpoint) -> int:
    return len(checkpoint.succeeded) + len(checkpoint.failed)
