"""How `evaluate-batch` evaluates a dataset: the steps that only this kind of run has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from evalqueue.context import Checkpoint
from evalqueue.errors import JobFailed
from evalqueue.evaluators.apps import UnknownApp
from evalqueue.evaluators.apps.store import StoredApp
from evalqueue.evaluators.batch import earlier_runs, samples
from evalqueue.evaluators.batch.estimates import Estimate, estimate_batch
from evalqueue.evaluators.batch.fit import Misfit
from evalqueue.evaluators.batch.job_type import EvaluateBatch
from evalqueue.evaluators.batch.rounds import work_in_rounds
from evalqueue.evaluators.batch.thread_work import ThreadInputs, ThreadWork
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.store import Content
from evalqueue.evaluators.formats import FormatError
from evalqueue.evaluators.judging.evaluator import Evaluator
from evalqueue.evaluators.judging.registry import UnknownEvaluator, calls_llm, models
from evalqueue.evaluators.judging.registry import chosen as chosen_evaluators
from evalqueue.evaluators.judging.registry import make as make_evaluators
from evalqueue.evaluators.judging.threads import Chosen
from evalqueue.evaluators.prices.price_list import PriceList
from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.policy import LlmCaller
from evalqueue.evaluators.runs import store
from evalqueue.evaluators.runs.attempt import Conclusion, RunAttempt, RunInput
from evalqueue.evaluators.runs.call_log import CallLog
from evalqueue.evaluators.runs.summary import RunEnd, Settlement, settle, summarise
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Connection

_UNKNOWN_SHOWN = 1000  # ids of threads in a result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """What earlier attempts have stored."""

    is_first: bool
    """Whether this attempt is the one that froze the run."""
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRun:
    """A run of `evaluate-batch`: a `RunKind`."""

    attempt: RunAttempt
    params: EvaluateBatch
    dataset: Content
    app: StoredApp
    misfits: tuple[Misfit, ...]
    chosen: Chosen
    """The threads to evaluate."""
    skipped: int
    """Threads that earlier runs have evaluated, and that are left out."""
    evaluators: tuple[Evaluator, ...]

    @classmethod
    async def open(cls, attempt: RunAttempt, params: EvaluateBatch) -> Self:
        """Read the dataset that the params name.

        Raises:
            JobFailed: the params name something that is wrong or missing.
        """
        context = attempt.context
        admission = AdmissionContext(
            settings=attempt.settings, database=context.database, owner=context.job.owner
        )

        async def choose() -> tuple[
            Content, StoredApp, tuple[Evaluator, ...], tuple[Misfit, ...], Chosen, int
        ]:
            dataset = await params.content(admission)
            app = await params.app_of_job(admission, dataset.id)
            plan = params.plan(app.app)
            evaluators = make_evaluators(plan)
            if not evaluators:
                raise JobFailed("All evaluators are switched off: there is nothing to do")
            named_by = await params.app_named_by(admission, dataset.id)
            misfits = await params.misfits(admission, app.app, dataset.id, named_by=named_by)
            chosen = await params.choose(admission, dataset.id)
            if not params.skip_evaluated:
                return dataset, app, evaluators, misfits, chosen, 0
            async with context.database.connection() as connection:
                evaluated = await earlier_runs.evaluated(
                    connection,
                    owner=context.job.owner,
                    run_id=attempt.run_id,
                    dataset_id=dataset.id,
                    thread_ids=chosen.thread_ids,
                    app_id=app.app_id,
                    choice=attempt.choose_model(params) if calls_llm(plan) else None,
                    versions={each.declaration.name: each.version for each in evaluators},
                )
            left = tuple(each for each in chosen.thread_ids if each not in evaluated)
            chosen = replace(chosen, thread_ids=left)
            return dataset, app, evaluators, misfits, chosen, len(evaluated)

        try:
            (
                dataset,
                app,
                evaluators,
                misfits,
                chosen,
                skipped,
            ) = await context.database.retry_transient(choose, what=f"Job {context.job.id}")
        except (FormatError, UnknownApp, UnknownEvaluator) as error:
            raise JobFailed(str(error)) from error
        return cls(
            attempt=attempt,
            params=params,
            dataset=dataset,
            app=app,
            misfits=misfits,
            chosen=chosen,
            skipped=skipped,
            evaluators=evaluators,
        )

    @property
    def stop_errors(self) -> tuple[type[Exception], ...]:
        return (ProviderError,)

    @property
    def calls_llm(self) -> bool:
        return calls_llm(self.params.plan(self.app.app))

    @property
    def models(self) -> Sequence[str]:
        return tuple(models(self.params.plan(self.app.app)))

    @property
    def max_helpers(self) -> int:
        if self._is_batched:
            return 0  # the vendor does the work
        return self.params.max_helpers(len(self.chosen.thread_ids))

    @property
    def _is_batched(self) -> bool:
        return self.params.is_batched and self.calls_llm

    def run_input(self) -> RunInput:
        dataset = self.dataset
        return RunInput(
            app=self.app,
            data_path=self.params.data_path or dataset.name or dataset.id,
            data_file_hash=dataset.sha256,
            dataset_id=dataset.id,
            total_items=len(self.chosen.thread_ids),
            config={
                "params": self.params.model_dump(
                    mode="json", exclude={"csv_content", "thread_ids"}
                ),
                "evaluators": [
                    each.declaration.model_dump(mode="json") for each in self.evaluators
                ],
                "evaluator_versions": {
                    each.declaration.name: each.version for each in self.evaluators
                },
                "models": {
                    kind.name: kind.model
                    for kind in chosen_evaluators(self.params.plan(self.app.app))
                    if kind.model is not None
                },
                "warnings": [each.as_json() for each in self.misfits],
                "dataset": {
                    "id": dataset.id,
                    "name": dataset.name,
                    "sha256": dataset.sha256,
                },
            },
        )

    async def estimate(self, prices: PriceList, /) -> Mapping[str, Any] | None:
        if self.params.replay is not None:
            return None  # no LLM is called
        context, thread_ids = self.attempt.context, self.chosen.thread_ids
        plan = self.params.plan(self.app.app)
        others = await self.attempt.other_models(self.models)

        async def estimate(connection: Connection) -> Estimate | None:
            return await estimate_batch(
                connection,
                threads=await samples.of_dataset(connection, self.dataset.id, thread_ids),
                total_threads=len(thread_ids),
                calls=None,
                evaluators=self.evaluators,
                owner=context.job.owner,
                choice=self.attempt.choose_model(self.params) if self.calls_llm else None,
                prices=prices.of_batches() if self.params.is_batched else prices,
                plan=plan,
                others=others,
            )

        found = await context.database.until_done(estimate, what=f"Job {context.job.id}")
        return None if found is None else found.as_json()

    async def begin(self, connection: Connection, opened: store.Opened, /) -> _Begun:
        attempt = self.attempt
        # From here on the job and its helper jobs, in whatever worker, read this dataset.
        await datasets.pin(connection, job_id=attempt.context.job.id, dataset_id=self.dataset.id)
        checkpoint = await store.checkpoint(connection, attempt.run_id, attempt.job_id)
        return _Begun(is_first=opened.is_first, checkpoint=checkpoint)

    async def work(self, begun: _Begun, caller: LlmCaller, call_log: CallLog, /) -> None:
        if begun.checkpoint.succeeded:
            caller.note_read()  # in an earlier attempt
        inputs = ThreadInputs(
            attempt=self.attempt,
            params=self.params,
            dataset=self.dataset,
            evaluators=self.evaluators,
        )
        if self._is_batched:
            await work_in_rounds(inputs, self.chosen.thread_ids, begun.checkpoint, caller, call_log)
            return
        # In a run's first attempt no call is recorded yet, unless a helper job was lost.
        is_fresh = begun.is_first and not self.max_helpers
        await self.attempt.context.map(
            self.chosen.thread_ids,
            ThreadWork(inputs, caller, call_log, is_fresh=is_fresh),
            checkpoint=begun.checkpoint,
            concurrency=self.params.concurrency,
            max_helpers=self.max_helpers,
        )

    async def conclude(self, connection: Connection, /) -> Conclusion:
        outcomes = await store.outcomes(connection, self.attempt.run_id)
        unknown = list(self.chosen.unknown[:_UNKNOWN_SHOWN])
        details: dict[str, Any] = {"unknown_thread_ids": unknown} if unknown else {}
        if self.misfits:
            details["warnings"] = [each.as_json() for each in self.misfits]
        summary = summarise(outcomes, [each.declaration for each in self.evaluators])
        if self.params.skip_evaluated:
            summary["skipped_evaluated"] = self.skipped
        if self.params.replay is not None:
            summary["replayed_run_id"] = str(self.params.replay)
        nothing_left = self.skipped and not self.chosen.thread_ids and not outcomes
        return Conclusion(
            settlement=Settlement(status=RunEnd.COMPLETED) if nothing_left else settle(outcomes),
            summary=summary,
            judged=sum(outcome.error is None for outcome in outcomes),
            planned=len(self.chosen.thread_ids),
            noun="conversations",
            details=details,
        )
