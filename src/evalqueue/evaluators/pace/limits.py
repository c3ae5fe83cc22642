"""The limits that the settings name, by model."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Self, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from evalqueue.environment import EnvironmentSettings
from evalqueue.evaluators.providers.provider import LlmCredential

ANY_MODEL = "*"
_EXAMPLE = (
    "write gpt-4o=rpm:600,tpm:90000,concurrent:8; gemini/gemini-2.5-flash=rpm:30, or JSON: "
    '{"gpt-4o": {"rpm": 600, "tpm": 90000, "concurrent": 8}}'
)


class ModelLimits(BaseModel):
    """The limits of one model. None: unknown, so it is found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rpm: float | None = Field(default=None, gt=0, le=1e6)
    """Requests a minute."""
    tpm: float | None = Field(default=None, gt=0, le=1e12)
    """Tokens a minute."""
    concurrent: int | None = Field(default=None, ge=1, le=100_000)
    """Calls in flight, in all workers together."""


UNKNOWN = ModelLimits()


class PaceSettings(EnvironmentSettings):
    """How LLM calls are paced. Each field is `EVALQUEUE_LLM_<NAME>` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="EVALQUEUE_LLM_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    limits: Annotated[Mapping[str, ModelLimits], NoDecode] = Field(
        default_factory=dict[str, ModelLimits]
    )
    """Limits by model, by provider and model (`openai/gpt-4o`), or `*` for every model:
    `gpt-4o=rpm:600,tpm:90000,concurrent:8; *=concurrent:64`, or the same as JSON."""
    max_wait_seconds: float | None = Field(default=None, gt=0)
    """Jobs fail once no LLM call was answered for so long. Unset: they wait without end."""

    @field_validator("limits", mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        return parse_limits(value) if isinstance(value, str) else value

    @classmethod
    def read(cls) -> Self:
        return cls()

    def limits_of(self, credential: LlmCredential) -> ModelLimits:
        """The limits of a credential: those of its full name, else its model's, else of all."""
        _, _, model = credential.label.partition("/")
        for name in (credential.label, model, ANY_MODEL):
            if name in self.limits:
                return self.limits[name]
        return UNKNOWN


def parse_limits(text: str) -> Mapping[str, object]:
    """The value of EVALQUEUE_LLM_LIMITS, in either form.

    Raises:
        ValueError: it is of neither.
    """
    if text.lstrip().startswith("{"):
        try:
            return cast("Mapping[str, Any]", json.loads(text))
        except json.JSONDecodeError as error:
            raise ValueError(f"This is not JSON ({error}): {_EXAMPLE}") from error
    found: dict[str, object] = {}
    entries = [entry for entry in text.split(";") if entry.strip()]
    for number, entry in enumerate(entries, start=1):  # named so: it may be a secret
        model, _, limits = (part.strip() for part in entry.partition("="))
        if not model or not limits or "=" in limits:
            raise ValueError(f"Entry {number} is not a model and its limits: {_EXAMPLE}")
        if model in found:
            raise ValueError(f"{model} is named twice")
        found[model] = dict(_pair(number, each) for each in limits.split(","))
    return found


def _pair(number: int, text: str) -> tuple[str, str]:
    name, separator, value = (part.strip() for part in text.partition(":"))
    if not separator or name not in ModelLimits.model_fields or not value:
        known = ", ".join(ModelLimits.model_fields)
        raise ValueError(f"Entry {number}: the limits are {known}; {_EXAMPLE}")
    return name, value.replace("_", "")
