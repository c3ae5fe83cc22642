"""The LLM calls of a command, made in its own process: at the pace of their credential.

They are recorded in memory only, and take no part in caps.
"""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from uuid import uuid4

from evalqueue.evaluators.metrics import EvaluationMetrics
from evalqueue.evaluators.pace.limits import PaceSettings
from evalqueue.evaluators.pace.registry import Paces
from evalqueue.evaluators.pace.waiting import Wait
from evalqueue.evaluators.prices.price_list import PriceList
from evalqueue.evaluators.providers.policy import CallPolicy, LlmCaller, Slots
from evalqueue.evaluators.providers.provider import Provider
from evalqueue.evaluators.providers.recorder import CallRecord
from evalqueue.evaluators.providers.registry import (
    ModelChoice,
    ProviderRegistry,
    ProviderSettings,
    resolve_named,
)
from evalqueue.evaluators.runs.cap_params import price_list
from evalqueue.metrics.registry import Metrics
from evalqueue.postgres.database import Database

MAX_WAIT_SECONDS = 600.0
"""A command fails once no call was answered for so long."""
_AT_ONCE = 8  # calls
_OWNER = "default"  # a credential is shared evenly among the owners that use it


@dataclass(slots=True)
class RecordedCalls:
    """A recorder that keeps what it is given."""

    records: list[CallRecord] = field(default_factory=list[CallRecord])

    @property
    def is_ready(self) -> bool:
        return True

    async def ready(self) -> None:
        """Memory is always there."""

    def record(self, call: CallRecord) -> None:
        self.records.append(call)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandCalls:
    """What a command makes its calls with, and what it knows of them."""

    caller: LlmCaller
    recorded: RecordedCalls
    prices: PriceList


@asynccontextmanager
async def open_calls(
    database: Database,
    settings: ProviderSettings,
    choice: ModelChoice,
    *,
    models: Iterable[str] = (),
    call_timeout_seconds: float = 60.0,
    on_wait: Callable[[Wait | None], None] = lambda _wait: None,
) -> AsyncGenerator[CommandCalls]:
    """Calls to a model.

    Args:
        database: holds the paces of all credentials.
        settings: of the providers.
        choice: the model.
        models: those that are asked besides it, as `provider/model`.
        call_timeout_seconds: of one attempt at a call.
        on_wait: called about twice a second while a call waits.

    Raises:
        ProviderUnavailable: one of the models is not available here.
    """
    slots, recorded = Slots(_AT_ONCE), RecordedCalls()
    async with AsyncExitStack() as closed:
        providers = ProviderRegistry(settings)
        closed.push_async_callback(providers.aclose)
        paces = Paces(PaceSettings.read(), EvaluationMetrics(Metrics()))
        closed.push_async_callback(paces.aclose)
        job = f"command-{uuid4().hex}"

        def caller_of(provider: Provider, others: dict[str, LlmCaller] | None = None) -> LlmCaller:
            queue = paces.of(provider, database).queue(
                job=job, owner=_OWNER, max_wait_seconds=MAX_WAIT_SECONDS, on_wait=on_wait
            )
            return LlmCaller(
                provider,
                slots=slots,
                recorder=recorded,
                policy=CallPolicy(attempt_timeout_seconds=call_timeout_seconds),
                turns=closed.enter_context(closing(queue)),
                others=others,
            )

        others = {
            name: caller_of(await providers.provider(resolve_named(settings, name)))
            for name in models
        }
        yield CommandCalls(
            caller=caller_of(await providers.provider(choice), others),
            recorded=recorded,
            prices=await price_list(settings, choice),
        )
