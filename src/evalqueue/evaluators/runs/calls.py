"""The LLM calls of one attempt at a job: recorded, at the pace of their credential, within caps."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from evalqueue.context import JobContext
from evalqueue.errors import JobFailed
from evalqueue.evaluators.caps.account import CapAccount
from evalqueue.evaluators.caps.ledger import CapLedger
from evalqueue.evaluators.caps.worst_case import CallAmounts
from evalqueue.evaluators.metrics import EvaluationMetrics
from evalqueue.evaluators.pace.calls import CallQueue
from evalqueue.evaluators.pace.registry import Paces
from evalqueue.evaluators.pace.waiting import Wait
from evalqueue.evaluators.prices.price_list import PriceList
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.policy import CallPolicy, LlmCaller, Slots
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest, Provider
from evalqueue.evaluators.providers.registry import (
    ModelChoice,
    ProviderRegistry,
    ProviderSettings,
    ProviderUnavailable,
    resolve,
)
from evalqueue.evaluators.providers.reservations import Reservations, Uncapped
from evalqueue.evaluators.runs.call_log import CallLog
from evalqueue.evaluators.runs.cap_params import caps_of, unpriced
from evalqueue.evaluators.runs.other_models import PricedModel, priced


class NoModel:
    """A `Provider` that stands in for a model where evaluators declare that they ask none."""

    name = "none"
    model = "none"

    async def complete(self, request: CompletionRequest, *, timeout: float) -> Completion:
        raise ProviderError(
            CallOutcome.BAD_REQUEST,
            "The evaluator asks a judge, though it declares calls_llm=False",
        )

    async def aclose(self) -> None:
        pass


class CallParams(Protocol):
    """The params that every job has whose attempts make LLM calls."""

    @property
    def llm_provider(self) -> str | None: ...
    @property
    def llm_model(self) -> str | None: ...
    @property
    def temperature(self) -> float: ...
    @property
    def concurrency(self) -> int: ...
    @property
    def call_timeout_seconds(self) -> float: ...
    @property
    def max_wait_seconds(self) -> float | None: ...
    @property
    def max_cost(self) -> Decimal | None: ...
    @property
    def max_tokens(self) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmAccess:
    """How the attempts of a process make LLM calls: one client and one pace per credential."""

    registry: ProviderRegistry
    settings: ProviderSettings
    paces: Paces
    metrics: EvaluationMetrics

    def choose_model(self, params: CallParams) -> ModelChoice:
        """The model that the params mean.

        Raises:
            JobFailed: it is not available here.
        """
        try:
            return resolve(self.settings, params.llm_provider, params.llm_model)
        except ProviderUnavailable as error:
            raise JobFailed(str(error)) from error

    async def other_models(self, names: Iterable[str]) -> dict[str, PricedModel]:
        """The models that are asked besides the job's, by their names.

        Raises:
            JobFailed: one of them is not available here.
        """
        try:
            return await priced(self.settings, names)
        except ProviderUnavailable as error:
            raise JobFailed(str(error)) from error

    @asynccontextmanager
    async def open(
        self,
        context: JobContext,
        params: CallParams,
        choice: ModelChoice | None,
        prices: PriceList,
        *,
        run_id: UUID | None,
        models: Iterable[str] = (),
    ) -> AsyncGenerator[tuple[LlmCaller, CallLog]]:
        """What an attempt makes its calls with, and what records them.

        Args:
            context: of the attempt. Its progress shows what the calls wait for.
            params: the job's.
            choice: the model. None: none is to be asked, so there are no keys, caps and waits.
            prices: those of the model.
            run_id: the run that the calls belong to. None: the job has none.
            models: those that are asked besides the job's, as `provider/model`.

        Raises:
            JobFailed: a cap can't be kept, or a model is not available here.
        """
        slots = Slots(params.concurrency)
        others = await self.other_models(models)
        log = CallLog(
            context.database,
            run_id=run_id,
            job_id=context.job.root_id,
            attempt=context.job.attempt,
            prices=prices,
            metrics=self.metrics,
            at_once=params.concurrency,
            others={each.choice.provider: each.prices for each in others.values()},
            lease=context,
        )
        if choice is None:
            async with log as call_log:
                yield LlmCaller(NoModel(), slots=slots, recorder=call_log), call_log
            return
        async with (
            log as call_log,
            _reservations(context, params, choice, prices) as reservations,
            AsyncExitStack() as queues,
        ):
            policy = CallPolicy(attempt_timeout_seconds=params.call_timeout_seconds)

            async def caller_of(
                asked: ModelChoice,
                reservations: Reservations,
                others: Mapping[str, LlmCaller] | None = None,
            ) -> LlmCaller:
                provider = await self.registry.provider(asked)
                return LlmCaller(
                    provider,
                    slots=slots,
                    recorder=call_log,
                    policy=policy,
                    turns=queues.enter_context(closing(self._queue(provider, context, params))),
                    reservations=reservations,
                    others=others,
                )

            callers = {
                name: await caller_of(model.choice, _of_model(context, params, reservations, model))
                for name, model in others.items()
            }
            try:
                yield await caller_of(choice, reservations, callers), call_log
            finally:
                context.show_wait(None)

    def _queue(self, provider: Provider, context: JobContext, params: CallParams) -> CallQueue:
        """The queue of an attempt's calls to a provider; to be closed."""
        queue = self.paces.of(provider, context.database).queue(
            job=str(context.job.root_id),
            owner=context.job.owner,
            max_wait_seconds=params.max_wait_seconds or self.paces.settings.max_wait_seconds,
            on_wait=lambda wait: _show(context, wait, queue.answered),
        )
        return queue


def _of_model(
    context: JobContext, params: CallParams, reservations: Reservations, model: PricedModel
) -> Reservations:
    """Reservations for the calls of another model, out of the same caps.

    Raises:
        JobFailed: its price is not known, and there is a cap in dollars.
    """
    owner = context.job.owner
    problem = unpriced(caps_of(params, owner), model.prices, model.choice, owner)
    if problem is not None:
        raise JobFailed(problem)
    if not isinstance(reservations, CapAccount):
        return reservations
    return reservations.of_model(CallAmounts(prices=model.prices, model=model.choice.model))


@asynccontextmanager
async def _reservations(
    context: JobContext, params: CallParams, choice: ModelChoice, prices: PriceList
) -> AsyncGenerator[Reservations]:
    """What the calls of an attempt may use, by the caps of the job and of its owner."""
    job = context.job
    caps = caps_of(params, job.owner)
    if not caps.is_any:
        yield Uncapped()
        return
    problem = unpriced(caps, prices, choice, job.owner)
    if problem is not None:
        raise JobFailed(problem)
    ledger = CapLedger.of_attempt(
        context.database,
        job_id=job.id,
        root_job_id=job.root_id,
        owner=job.owner,
        attempt=job.attempt,
        caps=caps,
    )
    async with CapAccount(ledger, CallAmounts(prices=prices, model=choice.model)) as account:
        yield account


def _show(context: JobContext, wait: Wait | None, answered: int) -> None:
    """Show in the job's progress why it waits."""
    if wait is None:
        context.show_wait(None)
        return
    calls_left = None
    if context.items_finished and answered:
        calls_left = answered / context.items_finished * context.items_left
    context.show_wait(wait.describe(calls_left))
