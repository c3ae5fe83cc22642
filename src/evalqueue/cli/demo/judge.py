"""Which LLM judges in a demo."""

from collections.abc import Mapping
from dataclasses import dataclass

SIMULATED = "simulated"
SIMULATED_WARNING = "simulated: no key set; answers are gold labels with noise, not judgements"
DEFAULT_MODELS: Mapping[str, str] = {"openai": "gpt-4o-mini", "gemini": "gemini-2.5-flash"}
"""The model when `EVALQUEUE_LLM_MODEL` is not set: small, cheap, good enough for a demo."""

_PROVIDERS_BY_KEY: Mapping[str, str] = {
    "OPENAI_API_KEY": "openai",
    "AZURE_OPENAI_API_KEY": "azure_openai",
    "GEMINI_API_KEY": "gemini",
    "GOOGLE_API_KEY": "gemini",
    "GOOGLE_APPLICATION_CREDENTIALS": "gemini",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeChoice:
    """A provider and its model."""

    provider: str
    model: str | None
    """None: the one that the provider's own settings name."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "JudgeChoice":
        """The provider that is named, else the one whose key is set, else the simulated one."""
        keys = (name for key, name in _PROVIDERS_BY_KEY.items() if environment.get(key))
        provider = environment.get("EVALQUEUE_LLM_PROVIDER") or next(keys, SIMULATED)
        if provider == SIMULATED:  # it ignores the model that is set
            return cls(provider=provider, model="simulated-judge")
        model = environment.get("EVALQUEUE_LLM_MODEL") or DEFAULT_MODELS.get(provider)
        return cls(provider=provider, model=model)

    @property
    def is_simulated(self) -> bool:
        return self.provider == SIMULATED

    def __str__(self) -> str:
        if self.is_simulated:
            return SIMULATED_WARNING
        return f"{self.provider}, model {self.model or 'from its settings'}"
