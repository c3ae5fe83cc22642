"""How `try-evaluators` works: it asks, stores what was found, and makes no run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from evalqueue.context import Checkpoint, JobContext
from evalqueue.errors import InvalidParams, JobFailed, leaves
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.judging.judge import Judge, concurrently
from evalqueue.evaluators.providers.earlier.replay import Replay
from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.policy import LlmCaller
from evalqueue.evaluators.runs import usage
from evalqueue.evaluators.runs.call_log import CallLog
from evalqueue.evaluators.runs.calls import LlmAccess
from evalqueue.evaluators.runs.cap_params import price_list
from evalqueue.evaluators.trying import findings, store
from evalqueue.evaluators.trying.job_type import TrialPlan, TryEvaluators
from evalqueue.evaluators.trying.store import TriedConversation
from evalqueue.items import ItemWork
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Connection
from evalqueue.settings import Settings


async def try_evaluators(
    context: JobContext, params: TryEvaluators, settings: Settings, access: LlmAccess
) -> Mapping[str, Any]:
    """Ask the evaluators about the conversations, and store what they found.

    Raises:
        JobFailed: the params are wrong, or no LLM call can be made.
    """
    job_id = context.job.id
    admission = AdmissionContext(
        settings=settings, database=context.database, owner=context.job.owner
    )
    try:
        trial = await context.database.retry_transient(
            lambda: params.of_job(admission), what=f"Job {job_id}"
        )
    except InvalidParams as error:
        raise JobFailed(str(error)) from error
    choice = access.choose_model(params)
    prices = await price_list(access.settings, choice)

    async def begin(connection: Connection) -> Checkpoint:
        await app_store.pin(connection, job_id=job_id, stored=trial.app)
        return await store.checkpoint(connection, job_id)

    checkpoint = await context.retry_fenced(begin)
    async with access.open(context, params, choice, prices, run_id=None, models=trial.models) as (
        caller,
        call_log,
    ):
        work = _TriedThreads(
            context=context, dataset_id=params.dataset_id, trial=trial, caller=caller,
            call_log=call_log,
        )  # fmt: skip
        try:
            await context.map(
                trial.thread_ids, work, checkpoint=checkpoint, concurrency=len(trial.thread_ids)
            )
        except* ProviderError as stopping:
            error = next(leaves(stopping))
            outcome = f"{error.outcome}: " if isinstance(error, ProviderError) else ""
            raise JobFailed(f"The judge can't be asked: {outcome}{error}") from stopping
    used = await context.retry_fenced(partial(usage.of_job, job_id=job_id))
    return {"conversations": len(trial.thread_ids), "model": choice.model, "usage": used}


@dataclass(frozen=True, slots=True, kw_only=True)
class _TriedThreads(ItemWork[str, TriedConversation]):
    """Tries all evaluators on one conversation, by its id."""

    noun = "Conversation"
    log_field = "thread_id"

    context: JobContext
    dataset_id: str
    trial: TrialPlan
    caller: LlmCaller
    call_log: CallLog

    async def work(self, item: str, /) -> TriedConversation:
        database, what = self.context.database, f"Job {self.context.job.id}"
        thread = await database.until_done(
            partial(datasets.thread, dataset_id=self.dataset_id, thread_id=item), what=what
        )
        if thread is None:
            raise JobFailed(f"The dataset {self.dataset_id} was deleted: submit it anew")
        recorded = await database.until_done(
            partial(usage.recorded, job_id=self.context.job.id, thread_id=item), what=what
        )
        judge = Judge(Replay(self.caller, recorded))
        found = await concurrently(each.evaluate(thread, judge) for each in self.trial.evaluators)
        await self.call_log.flush()
        used = await database.until_done(
            partial(usage.of_job, job_id=self.context.job.id, thread_id=item), what=what
        )
        return TriedConversation(
            thread_id=item,
            findings=[
                {**findings.as_json(each), **used.get(each.evaluator, usage.NO_CALLS)}
                for each in found
            ],
        )

    async def store(self, connection: Connection, result: TriedConversation, /) -> None:
        await store.keep(connection, self.context.job.id, result)
