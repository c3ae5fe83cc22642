"""One attempt at one run: what every kind of evaluation job does in the same way.

An attempt opens what the job names, freezes the run's config, works with one LLM caller, and
settles the run from what is stored. A `RunKind` supplies the steps that differ.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from uuid import UUID

from evalqueue.context import JobContext
from evalqueue.errors import JobFailed, leaves
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.apps.store import StoredApp
from evalqueue.evaluators.caps.account import CapReached
from evalqueue.evaluators.metrics import EvaluationMetrics
from evalqueue.evaluators.prices.price_list import PriceList
from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.policy import LlmCaller
from evalqueue.evaluators.providers.registry import ModelChoice
from evalqueue.evaluators.runs import store
from evalqueue.evaluators.runs.call_log import CallLog
from evalqueue.evaluators.runs.calls import CallParams, LlmAccess
from evalqueue.evaluators.runs.cap_params import price_list
from evalqueue.evaluators.runs.other_models import PricedModel
from evalqueue.evaluators.runs.summary import RunEnd, Settlement
from evalqueue.postgres.database import Connection
from evalqueue.settings import Settings

Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInput:
    """What a run evaluates, and the config that it freezes."""

    total_items: int
    config: Mapping[str, Any]
    app: StoredApp
    data_path: str | None = None
    """None: what is evaluated comes from no file."""
    data_file_hash: str | None = None
    dataset_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What the stored results of a run come to."""

    settlement: Settlement
    summary: Mapping[str, Any]
    judged: int
    planned: int | None
    """How many there are to judge. None: it is not known yet."""
    noun: str
    """What is judged: `conversations`."""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Parts of the job's result that only a run has that worked to its end."""


Params = TypeVar("Params", bound=CallParams)
Begun = TypeVar("Begun")


class RunKind(Protocol[Begun]):
    """The steps of a run that differ between kinds of evaluation jobs."""

    @property
    def stop_errors(self) -> tuple[type[Exception], ...]:
        """Errors that every later item would meet, too: the run stops with its results so far."""
        ...

    @property
    def calls_llm(self) -> bool:
        """Whether an LLM may be asked. If none is, no model is chosen."""
        ...

    @property
    def models(self) -> Sequence[str]:
        """The models that are asked besides the job's, as `provider/model`."""
        ...

    def run_input(self) -> RunInput: ...

    async def estimate(self, prices: PriceList, /) -> Mapping[str, Any] | None:
        """What the run's calls may use, as JSON. None: it is not estimated."""
        ...

    async def begin(self, connection: Connection, opened: store.Opened, /) -> Begun:
        """Read what earlier attempts stored, in the transaction that opens the run.

        May run more than once.
        """
        ...

    async def work(self, begun: Begun, caller: LlmCaller, call_log: CallLog, /) -> None:
        """Work on all items that are left, and store their results.

        Raises:
            JobFailed: the job can't be done.
        """
        ...

    async def conclude(self, connection: Connection, /) -> Conclusion:
        """Summarise the stored results, in a transaction inside the fence.

        May run more than once.
        """
        ...


class RunAttempt:
    """One attempt at one run."""

    def __init__(self, context: JobContext, settings: Settings, access: LlmAccess) -> None:
        self.context = context
        self.settings = settings
        self.run_id = UUID(str(context.job.progress.details["run_id"]))
        self.job_id = context.job.root_id
        self._access = access
        self._started = time.monotonic()
        self.prices = PriceList(None, {})
        """Those of the model, once it runs; of none, if no LLM is asked."""

    @property
    def metrics(self) -> EvaluationMetrics:
        return self._access.metrics

    @property
    def number(self) -> int:
        """Which attempt at its job this is, from 1."""
        return self.context.job.attempt

    async def run(
        self,
        params: Params,
        open_kind: Callable[["RunAttempt", Params], Awaitable[RunKind[Begun]]],
    ) -> Summary:
        """Open, start, work, settle; return the job's result.

        Args:
            params: the job's.
            open_kind: reads what the params name. It raises `JobFailed` where something is wrong
                with that: a job that was submitted by plain SQL was not checked before.

        Raises:
            JobFailed: the run failed, or stopped early; with the result so far, if there is one.
        """
        kind = await open_kind(self, params)
        choice = self.choose_model(params) if kind.calls_llm else None
        if choice is not None:
            self.prices = await price_list(self._access.settings, choice)
        prices = self.prices
        begun = await self._start(kind, params, choice, prices)
        await self._work(kind, begun, params, choice, prices)
        if self.context.is_helper:
            return {"helped": str(self.job_id)}
        return await self._settle(kind)

    def choose_model(self, params: CallParams) -> ModelChoice:
        """The model that the params mean.

        Raises:
            JobFailed: it is not available here.
        """
        return self._access.choose_model(params)

    async def other_models(self, names: Sequence[str]) -> dict[str, PricedModel]:
        """The models that are asked besides the job's.

        Raises:
            JobFailed: one of them is not available here.
        """
        return await self._access.other_models(names)

    async def _start(
        self,
        kind: RunKind[Begun],
        params: CallParams,
        choice: ModelChoice | None,
        prices: PriceList,
    ) -> Begun:
        """Freeze the run's config, unless an earlier attempt has, and read what is stored."""
        run_input = kind.run_input()
        is_new = self.number == 1 and not self.context.is_helper
        estimate = await kind.estimate(prices) if is_new else None
        opening = store.Opening(
            run_id=self.run_id,
            app_id=run_input.app.app_id,
            app_digest=run_input.app.digest,
            llm_provider=None if choice is None else choice.provider,
            llm_model=None if choice is None else choice.model,
            eval_temperature=params.temperature,
            data_path=run_input.data_path,
            data_file_hash=run_input.data_file_hash,
            dataset_id=run_input.dataset_id,
            total_items=run_input.total_items,
            config={
                **run_input.config,
                "app": run_input.app.as_json(),
                "prices": prices.version,
                "estimate": estimate,
            },
        )

        async def start(connection: Connection) -> tuple[store.Opened, Begun] | None:
            # From here on the job and its helper jobs, in whatever worker, use this content.
            await app_store.pin(connection, job_id=self.context.job.id, stored=run_input.app)
            opened = await store.open_run(connection, opening)
            return None if opened is None else (opened, await kind.begin(connection, opened))

        started = await self.context.retry_fenced(start)
        if started is None:
            raise JobFailed(f"Its run {self.run_id} was deleted: submit it anew")
        opened, begun = started
        if opened.data_file_hash != opening.data_file_hash:
            raise JobFailed(f"{opening.data_path} has changed since the run began: submit it anew")
        return begun

    async def _work(
        self,
        kind: RunKind[Begun],
        begun: Begun,
        params: CallParams,
        choice: ModelChoice | None,
        prices: PriceList,
    ) -> None:
        async with self._access.open(
            self.context, params, choice, prices, run_id=self.run_id, models=kind.models
        ) as (caller, call_log):
            try:
                await kind.work(begun, caller, call_log)
            except* kind.stop_errors as stopping:
                await call_log.flush()  # the result counts these calls
                conclusion, result = await self._conclude(kind)
                reason = _reason(stopping, conclusion)
                raise JobFailed(reason, result=result) from stopping

    async def _settle(self, kind: RunKind[Any]) -> Summary:
        conclusion, result = await self._conclude(kind)
        settlement = conclusion.settlement
        result |= {"run_status": settlement.status.value, **conclusion.details}
        if settlement.status is RunEnd.COMPLETED_WITH_ERRORS:
            result["incomplete"] = True  # so that the job can be retried
        if settlement.error_message is not None:
            result["message"] = settlement.error_message
        if settlement.status is RunEnd.FAILED:
            raise JobFailed(settlement.error_message or "Nothing was evaluated", result=result)
        return result

    async def _conclude(self, kind: RunKind[Any]) -> tuple[Conclusion, dict[str, object]]:
        """What is stored of the run so far, and the job's result with that."""

        async def conclude(connection: Connection) -> tuple[Conclusion, store.UsageTotals]:
            return await kind.conclude(connection), await store.usage(connection, self.run_id)

        conclusion, usage = await self.context.retry_fenced(conclude)
        return conclusion, {
            "run_id": str(self.run_id),
            "duration_seconds": round(time.monotonic() - self._started, 3),
            **conclusion.summary,
            **usage.as_json(),
        }


def _reason(stopping: BaseException, conclusion: Conclusion) -> str:
    error = next(leaves(stopping))
    if isinstance(error, CapReached):
        total = "" if conclusion.planned is None else f" of {conclusion.planned}"
        return (
            f"{error.cap[:1].upper()}{error.cap[1:]} is reached: "
            f"{conclusion.judged}{total} {conclusion.noun} are judged"
        )
    return f"{error.outcome}: {error.message}" if isinstance(error, ProviderError) else str(error)
