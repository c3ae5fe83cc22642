"""One attempt at one run of `evaluate-batch`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from evalqueue.context import Checkpoint, JobContext
from evalqueue.errors import JobFailed, leaves
from evalqueue.evaluators.apps import UnknownApp
from evalqueue.evaluators.batch.job_type import EvaluateBatch
from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.store import Content
from evalqueue.evaluators.formats import FormatError
from evalqueue.evaluators.judging.evaluator import Evaluator
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.judging.registry import UnknownEvaluator
from evalqueue.evaluators.judging.registry import make as make_evaluators
from evalqueue.evaluators.judging.threads import Chosen, ThreadResult, evaluate_thread
from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.policy import CallPolicy, LlmCaller, Slots
from evalqueue.evaluators.providers.registry import (
    ModelChoice,
    ProviderRegistry,
    ProviderSettings,
    ProviderUnavailable,
    resolve,
)
from evalqueue.evaluators.providers.replay import Replay
from evalqueue.evaluators.runs import store
from evalqueue.evaluators.runs.call_log import CallLog
from evalqueue.evaluators.runs.store import Kept
from evalqueue.evaluators.runs.summary import RunEnd, ThreadOutcome, settle, summarise
from evalqueue.items import ItemWork
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Connection
from evalqueue.settings import Settings

Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What is to be done."""

    dataset: Content
    chosen: Chosen
    choice: ModelChoice
    evaluators: tuple[Evaluator, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """What is there already."""

    run: store.Opened
    checkpoint: Checkpoint


class BatchRun:
    """One attempt at one run of `evaluate-batch`."""

    def __init__(
        self,
        context: JobContext,
        params: EvaluateBatch,
        settings: Settings,
        registry: ProviderRegistry,
        providers: ProviderSettings,
    ) -> None:
        self.context = context
        self.params = params
        self.settings = settings
        self.registry = registry
        self.providers = providers
        self.run_id = UUID(str(context.job.progress.details["run_id"]))
        self.job_id = context.job.root_id
        self.started = time.monotonic()

    async def run(self) -> Summary:
        batch = await self._open()
        begun = await self._start(batch)
        await self._evaluate(batch, begun)
        if self.context.is_helper:
            return {"helped": str(self.job_id)}
        return await self._settle(batch)

    async def _open(self) -> _Batch:
        """What a job that came by plain SQL may still have wrong is its reason to fail."""
        admission = AdmissionContext(
            settings=self.settings, database=self.context.database, owner=self.context.job.owner
        )
        try:
            choice = resolve(self.providers, self.params.llm_provider, self.params.llm_model)
            evaluators = make_evaluators(self.params.plan())
            dataset, chosen = await self.context.database.retry_transient(
                partial(self._choose, admission), what=f"Job {self.context.job.id}"
            )
        except (FormatError, ProviderUnavailable, UnknownApp, UnknownEvaluator) as error:
            raise JobFailed(str(error)) from error
        return _Batch(dataset=dataset, chosen=chosen, choice=choice, evaluators=evaluators)

    async def _choose(self, admission: AdmissionContext) -> tuple[Content, Chosen]:
        dataset = await self.params.content(admission)
        return dataset, await self.params.choose(admission, dataset.id)

    async def _start(self, batch: _Batch) -> _Begun:
        dataset = batch.dataset
        opening = store.Opening(
            run_id=self.run_id,
            app_id=self.params.app_id,
            llm_provider=batch.choice.provider.value,
            llm_model=batch.choice.model,
            eval_temperature=self.params.temperature,
            data_path=self.params.data_path or dataset.name or dataset.id,
            data_file_hash=dataset.sha256,
            dataset_id=dataset.id,
            total_items=len(batch.chosen.thread_ids),
            config={
                "params": self.params.model_dump(
                    mode="json", exclude={"csv_content", "thread_ids"}
                ),
                "evaluators": [
                    each.declaration.model_dump(mode="json") for each in batch.evaluators
                ],
                "evaluator_versions": {
                    each.declaration.name: each.version for each in batch.evaluators
                },
                "dataset": {
                    "id": dataset.id,
                    "name": dataset.name,
                    "sha256": dataset.sha256,
                },
            },
        )

        async def begin(connection: Connection) -> _Begun | None:
            run = await store.open_run(connection, opening)
            if run is None:
                return None
            # From now on it is this that the job reads, and so do its hands, wherever they are.
            await datasets.pin(connection, job_id=self.context.job.id, dataset_id=dataset.id)
            checkpoint = await store.checkpoint(connection, self.run_id, self.job_id)
            return _Begun(run=run, checkpoint=checkpoint)

        begun = await self.context.retry_fenced(begin)
        if begun is None:
            raise JobFailed(f"Its run {self.run_id} was deleted: submit it anew")
        if begun.run.data_file_hash != dataset.sha256:
            raise JobFailed(f"{opening.data_path} has changed since the run began: submit it anew")
        return begun

    async def _evaluate(self, batch: _Batch, begun: _Begun) -> None:
        provider = await self.registry.provider(batch.choice)
        policy = CallPolicy(attempt_timeout_seconds=self.params.call_timeout_seconds)
        attempt = self.context.job.attempt
        max_helpers = self.params.max_helpers(len(batch.chosen.thread_ids))
        async with CallLog(
            self.context.database, run_id=self.run_id, job_id=self.job_id, attempt=attempt
        ) as calls:
            slots = Slots(self.params.concurrency)
            caller = LlmCaller(provider, slots=slots, recorder=calls, policy=policy)

            # In a run's first attempt nothing is on record, unless a helper job was lost.
            is_fresh = begun.run.is_first and not max_helpers
            work = _ThreadWork(self, batch, caller, calls, is_fresh=is_fresh)
            try:
                await self.context.map(
                    batch.chosen.thread_ids,
                    work,
                    checkpoint=begun.checkpoint,
                    concurrency=self.params.concurrency,
                    max_helpers=max_helpers,
                )
            except* ProviderError as stopping:
                # Every later call would fare the same: stop here, with what there is.
                reason = next(each for each in leaves(stopping) if isinstance(each, ProviderError))
                await calls.flush()  # its summary counts them
                result = await self._result(batch, await self._outcomes())
                raise JobFailed(f"{reason.outcome}: {reason.message}", result=result) from stopping

    async def thread(self, dataset: Content, thread_id: str) -> Thread:
        """One conversation, read when its turn has come."""
        found = await self.context.database.until_done(
            partial(datasets.thread, dataset_id=dataset.id, thread_id=thread_id),
            what=f"Job {self.context.job.id}",
        )
        if found is None:
            raise JobFailed(f"The dataset {dataset.id} was deleted under it: submit it anew")
        return found

    async def replaying(self, caller: LlmCaller, thread_id: str) -> Replay:
        """The caller, behind what earlier attempts have on record for a thread.

        Read when the thread's turn has come: no more is in memory than what is worked on.
        """
        recorded = await self.context.database.until_done(
            partial(
                store.recorded,
                run_id=self.run_id, job_id=self.job_id, thread_id=thread_id,
            ),
            what=f"Job {self.context.job.id}",
        )  # fmt: skip
        return Replay(caller, recorded)

    def kept(self, found: ThreadResult, dataset: Content, duration_ms: float) -> store.Kept:
        return store.Kept(
            run_id=self.run_id,
            job_id=self.job_id,
            attempt=self.context.job.attempt,
            data_file_hash=dataset.sha256,
            duration_ms=duration_ms,
            found=found,
        )

    async def _settle(self, batch: _Batch) -> Summary:
        outcomes = await self._outcomes()
        settlement = settle(outcomes)
        result = await self._result(batch, outcomes) | {"run_status": settlement.status.value}
        if settlement.status is RunEnd.COMPLETED_WITH_ERRORS:
            result["incomplete"] = True  # so that the job can be retried
        if settlement.error_message is not None:
            result["message"] = settlement.error_message
        if batch.chosen.unknown:
            result["unknown_thread_ids"] = list(batch.chosen.unknown[:1000])
        if settlement.status is RunEnd.FAILED:
            raise JobFailed(settlement.error_message or "Nothing was evaluated", result=result)
        return result

    async def _outcomes(self) -> list[ThreadOutcome]:
        return await self.context.retry_fenced(partial(store.outcomes, run_id=self.run_id))

    async def _result(self, batch: _Batch, outcomes: list[ThreadOutcome]) -> dict[str, Any]:
        usage = await self.context.retry_fenced(partial(store.usage, run_id=self.run_id))
        return {
            "run_id": str(self.run_id),
            "duration_seconds": round(time.monotonic() - self.started, 3),
            **summarise(outcomes, [each.declaration for each in batch.evaluators]),
            **usage.as_json(),
        }


class _ThreadWork(ItemWork[str, Kept]):
    """Evaluates one conversation, by its id."""

    noun = "Thread"

    def __init__(
        self, run: BatchRun, batch: _Batch, caller: LlmCaller, calls: CallLog, *, is_fresh: bool
    ) -> None:
        self._run = run
        self._batch = batch
        self._caller = caller
        self._calls = calls
        self._is_fresh = is_fresh

    async def work(self, item: str, /) -> Kept:
        began = time.perf_counter()
        thread = await self._run.thread(self._batch.dataset, item)
        caller = self._caller if self._is_fresh else await self._run.replaying(self._caller, item)
        found = await evaluate_thread(thread, self._batch.evaluators, Judge(caller))
        await self._calls.flush()
        duration_ms = (time.perf_counter() - began) * 1000
        return self._run.kept(found, self._batch.dataset, duration_ms)

    async def store(self, connection: Connection, result: Kept, /) -> None:
        await store.keep(connection, result)

    def succeeded(self, result: Kept, /) -> bool:
        return not result.found.failed
