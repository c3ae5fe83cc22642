"""The handlers of the evaluation jobs, bound to their job types."""

from collections.abc import Mapping
from typing import Any

from evalqueue.context import JobContext
from evalqueue.evaluators.adversarial.handler import AdversarialRun
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.adversarial.reaching.handler import reach_chatbot
from evalqueue.evaluators.adversarial.reaching.job_type import ReachChatbot
from evalqueue.evaluators.alerts.checking import check_alerts
from evalqueue.evaluators.alerts.delivery import deliver_alert
from evalqueue.evaluators.alerts.job_types import CheckAlerts, DeliverAlert
from evalqueue.evaluators.batch.economy.handler import settle_batches
from evalqueue.evaluators.batch.economy.job_type import SettleBatches
from evalqueue.evaluators.batch.handler import BatchRun
from evalqueue.evaluators.batch.job_type import EvaluateBatch
from evalqueue.evaluators.comparison.drift.handler import check_drift
from evalqueue.evaluators.comparison.drift.job_type import CheckDrift
from evalqueue.evaluators.metrics import EvaluationMetrics
from evalqueue.evaluators.pace.limits import PaceSettings
from evalqueue.evaluators.pace.registry import Paces
from evalqueue.evaluators.proposing.handler import propose_app
from evalqueue.evaluators.proposing.job_type import ProposeApp
from evalqueue.evaluators.providers.registry import ProviderRegistry, ProviderSettings
from evalqueue.evaluators.runs.attempt import RunAttempt
from evalqueue.evaluators.runs.calls import LlmAccess
from evalqueue.evaluators.sources.handler import SourceRun
from evalqueue.evaluators.sources.job_type import EvaluateSource
from evalqueue.evaluators.sources.settings import SourceSettings
from evalqueue.evaluators.trying.handler import try_evaluators
from evalqueue.evaluators.trying.job_type import TryEvaluators
from evalqueue.handlers import Handlers
from evalqueue.settings import Settings

Summary = Mapping[str, Any]


def evaluation_handlers(settings: Settings, providers: ProviderSettings) -> Handlers:
    """The handlers of all evaluation jobs, sharing one LLM client and one pace per credential."""
    handlers = Handlers()
    registry = ProviderRegistry(providers)
    metrics = EvaluationMetrics(handlers.metrics)
    paces = Paces(PaceSettings.read(), metrics)
    access = LlmAccess(registry=registry, settings=providers, paces=paces, metrics=metrics)
    SourceSettings.read()  # a mistake in them is shown when the worker starts
    handlers.when_closing(paces.aclose)
    handlers.when_closing(registry.aclose)
    handlers.include(_watching_handlers(settings))

    @handlers.handles(EvaluateBatch)
    async def evaluate_batch(context: JobContext, params: EvaluateBatch) -> Summary:  # pyright: ignore[reportUnusedFunction]  the decorator keeps it
        attempt = RunAttempt(context, settings, access)
        return await attempt.run(params, BatchRun.open)

    @handlers.handles(EvaluateAdversarial)
    async def evaluate_adversarial(context: JobContext, params: EvaluateAdversarial) -> Summary:  # pyright: ignore[reportUnusedFunction]  the decorator keeps it
        attempt = RunAttempt(context, settings, access)
        return await attempt.run(params, AdversarialRun.open)

    @handlers.handles(EvaluateSource)
    async def evaluate_source(context: JobContext, params: EvaluateSource) -> Summary:  # pyright: ignore[reportUnusedFunction]  the decorator keeps it
        return await SourceRun(context, params, settings).run()

    @handlers.handles(TryEvaluators)
    async def try_on_conversations(context: JobContext, params: TryEvaluators) -> Summary:  # pyright: ignore[reportUnusedFunction]  the decorator keeps it
        return await try_evaluators(context, params, settings, access)

    @handlers.handles(ProposeApp)
    async def draft_app(context: JobContext, params: ProposeApp) -> Summary:  # pyright: ignore[reportUnusedFunction]  the decorator keeps it
        return await propose_app(context, params, settings, access)

    @handlers.handles(ReachChatbot)
    async def reach(context: JobContext, params: ReachChatbot) -> Summary:  # pyright: ignore[reportUnusedFunction]  the decorator keeps it
        return await reach_chatbot(context, params, settings)

    @handlers.handles(SettleBatches)
    async def settle(context: JobContext, params: SettleBatches) -> Summary:  # pyright: ignore[reportUnusedFunction]  the decorator keeps it
        return await settle_batches(context, params, access)

    return handlers


def _watching_handlers(settings: Settings) -> Handlers:
    """The handlers of jobs that look for changes, and tell of them."""
    handlers = Handlers()

    @handlers.handles(CheckDrift)
    async def judge_again(context: JobContext, params: CheckDrift) -> Summary:  # pyright: ignore[reportUnusedFunction]  the decorator keeps it
        return await check_drift(context, params, settings)

    @handlers.handles(CheckAlerts)
    async def look_at_alerts(context: JobContext, params: CheckAlerts) -> Summary:  # pyright: ignore[reportUnusedFunction]  the decorator keeps it
        return await check_alerts(context, params, settings)

    @handlers.handles(DeliverAlert)
    async def deliver(context: JobContext, params: DeliverAlert) -> Summary:  # pyright: ignore[reportUnusedFunction]  the decorator keeps it
        return await deliver_alert(context, params)

    return handlers
