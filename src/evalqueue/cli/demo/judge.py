"""Which LLM judges in a demo."""

from collections.abc import Mapping
from dataclasses import dataclass

from evalqueue.evaluators.providers.registry import PROVIDERS
from evalqueue.evaluators.providers.vendors.simulated import SIMULATED

SIMULATED_WARNING = "simulated: no key set; answers are gold labels with noise, not judgements"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeChoice:
    """A provider and its model."""

    provider: str
    model: str | None
    """None: the one that the provider's own settings name."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "JudgeChoice":
        """The provider that is named, else the one whose key is set, else the simulated one."""
        named = environment.get("EVALQUEUE_LLM_PROVIDER")
        keyed = [kind for kind in PROVIDERS if any(map(environment.get, kind.keys))]
        provider = named or (keyed[0].name if keyed else SIMULATED.name)
        if provider == SIMULATED.name:  # it ignores the model that is set
            return cls(provider=provider, model="simulated-judge")
        models = {kind.name: kind.demo_model for kind in PROVIDERS}
        model = environment.get("EVALQUEUE_LLM_MODEL") or models.get(provider)
        return cls(provider=provider, model=model)

    @property
    def is_simulated(self) -> bool:
        return self.provider == SIMULATED.name

    def __str__(self) -> str:
        if self.is_simulated:
            return SIMULATED_WARNING
        return f"{self.provider}, model {self.model or 'from its settings'}"
