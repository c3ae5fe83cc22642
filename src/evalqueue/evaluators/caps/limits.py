"""Caps: how much a job, and its owner in a month, may use."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from evalqueue.environment import EnvironmentSettings

ANY_OWNER = "*"

Dollars = Annotated[Decimal, Field(gt=0, le=1_000_000_000, allow_inf_nan=False)]


class CapSettings(EnvironmentSettings):
    """Caps of owners, from the environment."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    evalqueue_monthly_caps: Annotated[dict[str, Dollars], NoDecode] = Field(
        default_factory=dict[str, Dollars]
    )
    """US dollars that each owner's jobs may use in a calendar month (UTC), as JSON:
    `{"anna": "50.00", "*": "10"}`. `*` is every other owner."""

    @field_validator("evalqueue_monthly_caps", mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        # Through Decimal, so that 0.1 stays 0.1.
        return json.loads(value, parse_float=Decimal) if isinstance(value, str) else value

    def of(self, owner: str) -> Decimal | None:
        """The monthly cap of an owner. None: there is none."""
        caps: Mapping[str, Decimal] = self.evalqueue_monthly_caps
        return caps.get(owner, caps.get(ANY_OWNER))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What the calls of one job may use. None: without limit."""

    job_usd: Decimal | None = None
    job_tokens: int | None = None
    month_usd: Decimal | None = None
    """What its owner may use in this month."""

    @classmethod
    def of(
        cls, settings: CapSettings, owner: str, *, usd: Decimal | None, tokens: int | None
    ) -> Self:
        return cls(job_usd=usd, job_tokens=tokens, month_usd=settings.of(owner))

    @property
    def is_any(self) -> bool:
        return (self.job_usd, self.job_tokens, self.month_usd) != (None, None, None)

    @property
    def needs_price(self) -> bool:
        """Whether one of them is in dollars."""
        return self.job_usd is not None or self.month_usd is not None


def in_dollars(amount: Decimal) -> str:
    """An amount for people: `$1.00`, `$0.0025`."""
    text = format(amount.normalize(), "f")
    whole, _, part = text.partition(".")
    return f"${int(whole):,}.{part:0<2}"
