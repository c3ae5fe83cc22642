"""Which LLM judges in a demo, and whether it answers."""

from dataclasses import dataclass, field

from evalqueue.cli.output.runs import SIMULATED_WARNING
from evalqueue.errors import Refused
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import CompletionRequest
from evalqueue.evaluators.providers.registry import (
    PROVIDERS,
    ProviderRegistry,
    ProviderSettings,
    ProviderUnavailable,
    resolve,
)
from evalqueue.evaluators.providers.vendors.simulated import SIMULATED

_FIRST_CALL_SECONDS = 30.0
_FIRST_CALL = CompletionRequest(
    system="You check a connection.",
    prompt="Answer that you are ready.",
    schema_name="readiness",
    schema={
        "type": "object",
        "properties": {"ready": {"type": "boolean"}},
        "required": ["ready"],
        "additionalProperties": False,
    },
)
_AWAY = frozenset({CallOutcome.TRANSIENT, CallOutcome.TIMEOUT})


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeChoice:
    """A provider and its model."""

    provider: str
    model: str | None
    """None: the one that the provider's own settings name."""
    is_named: bool = field(default=False, compare=False)
    """Whether the settings name the provider."""

    @classmethod
    def of(cls, settings: ProviderSettings) -> "JudgeChoice":
        """The provider that is named, else the one whose key is set, else the simulated one."""
        keyed = [kind for kind in PROVIDERS if kind.has_key(settings)]
        is_named = settings.evalqueue_llm_provider is not None
        provider = settings.evalqueue_llm_provider or (keyed[0].name if keyed else SIMULATED.name)
        if provider == SIMULATED.name:  # it ignores the model that is set
            return cls(provider=provider, model="simulated-judge", is_named=is_named)
        models = {kind.name: kind.demo_model for kind in PROVIDERS}
        model = settings.evalqueue_llm_model or models.get(provider)
        return cls(provider=provider, model=model, is_named=is_named)

    async def check(self) -> None:
        """Make one call, so that a demo does not wait for a vendor that will not answer.

        A job waits for as long as an outage takes. What the vendor says about this call alone, or
        about its rate limit, is left to the job.

        Raises:
            Refused: the key is refused, or the vendor does not answer.
        """
        if self.is_simulated:
            return
        settings = ProviderSettings()
        try:
            choice = resolve(settings, self.provider, self.model)
        except ProviderUnavailable:
            return  # the API refuses the job, and says which parameter is wrong
        providers = ProviderRegistry(settings)
        try:
            provider = await providers.provider(choice)
            await provider.complete(_FIRST_CALL, timeout=_FIRST_CALL_SECONDS)
        except ProviderError as error:
            if error.stops_the_job or error.outcome in _AWAY:
                raise Refused(
                    f"The judge can't be asked. The answer to one call: {error.message}\n"
                    "Check its key, its address and the network. EVALQUEUE_LLM_PROVIDER="
                    f"{SIMULATED.name} gives a simulated judge, which needs none of them."
                ) from error
        finally:
            await providers.aclose()

    @property
    def is_simulated(self) -> bool:
        return self.provider == SIMULATED.name

    def __str__(self) -> str:
        if self.is_simulated:
            reason = "EVALQUEUE_LLM_PROVIDER says so" if self.is_named else "no key set"
            return f"simulated: {reason}; {SIMULATED_WARNING}"
        return f"{self.provider}, model {self.model or 'from its settings'}"
