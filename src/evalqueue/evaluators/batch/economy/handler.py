"""How `settle-batches` works."""

from collections.abc import Mapping
from typing import Any

from evalqueue.context import JobContext
from evalqueue.errors import JobFailed, Postponed
from evalqueue.evaluators.batch.economy import store
from evalqueue.evaluators.batch.economy.job_type import SettleBatches
from evalqueue.evaluators.batch.economy.rounds import BatchRounds
from evalqueue.evaluators.batch.economy.settings import EconomySettings
from evalqueue.evaluators.batch.economy.store import OpenBatch
from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.registry import ProviderUnavailable, resolve
from evalqueue.evaluators.runs.call_log import CallLog
from evalqueue.evaluators.runs.calls import LlmAccess
from evalqueue.evaluators.runs.cap_params import price_list
from evalqueue.postgres.database import Connection


async def settle_batches(
    context: JobContext,
    params: SettleBatches,
    access: LlmAccess,
) -> Mapping[str, Any]:
    """Cancel the batches of a job that is over, and record their answers.

    Raises:
        Postponed: some are not over yet.
        JobFailed: the vendor refuses it.
    """

    async def left_open(connection: Connection) -> list[OpenBatch]:
        return await store.left_open(connection, params.job_id, owner=context.job.owner)

    batches = await context.database.until_done(left_open, what=f"Job {context.job.id}")
    if not batches:
        return {}
    try:
        choice = resolve(access.settings, batches[0].provider, batches[0].model)
        provider = await access.registry.provider(choice)
        prices = await price_list(access.settings, choice)
        async with CallLog(
            context.database,
            run_id=batches[0].run_id,
            job_id=params.job_id,
            attempt=context.job.attempt,
            prices=prices,
            metrics=access.metrics,
            at_once=1,
        ) as call_log:
            rounds = BatchRounds(
                context,
                provider,
                call_log,
                prices,
                run_id=batches[0].run_id,
                job_id=params.job_id,
                max_questions=EconomySettings().evalqueue_batch_questions,
            )
            await rounds.look(batches, cancel=True)
    except (ProviderError, ProviderUnavailable) as error:
        raise JobFailed(f"The batches of job {params.job_id} are not cancelled: {error}") from error
    except Postponed as waiting:
        context.progress(0, len(batches), str(waiting))
        raise
    return {}
