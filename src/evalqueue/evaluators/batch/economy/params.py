"""The params of economy mode, and the check of those at submission."""

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from evalqueue.errors import InvalidParams
from evalqueue.evaluators.providers.registry import ModelChoice, ProviderSettings, without_batches


class Mode(StrEnum):
    """How the LLM calls of a job are made."""

    LIVE = "live"
    """At once, one by one."""
    ECONOMY = "economy"
    """By the vendor's batches: within a day, at half the price."""


class Fallback(StrEnum):
    """What becomes of a question that a batch did not answer."""

    LIVE = "live"
    """It is asked live, at the full price."""
    FAIL = "fail"
    """Its verdict is missing, with the reason."""


class EconomyParams(BaseModel):
    """How the LLM calls of a job are made."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    mode: Mode = Mode.LIVE
    """`live`, or `economy`: by the vendor's batches, within a day, at half the price."""
    fallback: Fallback | None = None
    """In economy mode: what becomes of a question that a batch failed to answer, or that expired
    with it. Default: `live`, it is asked live at the full price; `fail`: its verdict is missing."""

    @model_validator(mode="after")
    def _is_for_economy_mode(self) -> Self:
        if self.fallback is not None and self.mode is not Mode.ECONOMY:
            raise ValueError("fallback is for mode: economy only")
        return self

    @property
    def is_batched(self) -> bool:
        """Whether the questions are asked by batches."""
        return self.mode is Mode.ECONOMY

    @property
    def asks_live(self) -> bool:
        """Whether a question that a batch did not answer is asked live."""
        return self.fallback is not Fallback.FAIL


def refuse_without_batches(
    params: EconomyParams, settings: ProviderSettings, choice: ModelChoice
) -> None:
    """Refuse economy mode where the provider is known to have no batches.

    Raises:
        InvalidParams: with the reason.
    """
    if params.is_batched and (reason := without_batches(settings, choice.provider)):
        raise InvalidParams.of("mode", reason)
