"""The prices of one provider's models, in US dollars per million tokens, and the cost of a call.

Prices come from `EVALQUEUE_PRICES`, or else from the package `genai-prices`, which holds the
vendors' public prices and never asks the network. Which models it knows is decided by the address
of the endpoint: a compatible server with a model of OpenAI's name has no price of OpenAI's. An
unknown price is None, never 0.
"""

import hashlib
import importlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from evalqueue.environment import EnvironmentSettings
from evalqueue.evaluators.loading import load
from evalqueue.evaluators.providers.provider import Usage

PUBLIC_PRICES = "genai-prices"
MILLION = Decimal(1_000_000)
BATCH_SHARE = Decimal("0.5")
"""Of the price of live calls that OpenAI, Azure OpenAI and Gemini take for those of a batch:
https://platform.openai.com/docs/guides/batch, https://ai.google.dev/gemini-api/docs/batch-api"""
_UNITS = {"input_mtok", "output_mtok", "cache_read_mtok"}


class ModelPrice(BaseModel):
    """A model's prices, in US dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Decimal = Field(ge=0, allow_inf_nan=False)
    output: Decimal = Field(ge=0, allow_inf_nan=False)
    cached: Decimal | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Of input tokens that the vendor had in its cache. None: as other input."""

    def cost(self, usage: Usage) -> Decimal | None:
        """The cost of a call in US dollars. None: the vendor did not report all its tokens."""
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        cached = min(usage.cached_tokens or 0, usage.input_tokens)
        cached_price = self.input if self.cached is None else self.cached
        return (
            (usage.input_tokens - cached) * self.input
            + cached * cached_price
            + usage.output_tokens * self.output
        ) / MILLION


ModelPrices = Mapping[str, ModelPrice]


class PriceSettings(EnvironmentSettings):
    """Prices of one's own, from the environment."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    evalqueue_prices: Annotated[dict[str, ModelPrice], NoDecode] = Field(
        default_factory=dict[str, ModelPrice]
    )
    """By model, as JSON: `{"my-model": {"input": 0.15, "output": 0.6, "cached": 0.075}}`."""

    @field_validator("evalqueue_prices", mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        # Through Decimal, so that 0.1 stays 0.1.
        return json.loads(value, parse_float=Decimal) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A model as the public prices have it."""

    flat: ModelPrice | None
    """None: its price depends on more than the number of tokens."""


class PriceList:
    """The prices of the models behind one endpoint."""

    def __init__(
        self, address: str | None, own: ModelPrices, *, share: Decimal = Decimal(1)
    ) -> None:
        """`address` is the endpoint's, None if it has no public prices; `own` take precedence.
        `share` of them is what is paid."""
        self._address = address
        self._own = own
        self._share = share
        self._known: dict[str, _Known | None] = {}

    @property
    def version(self) -> str:
        """Which prices these are, for the config of a run."""
        public = f"{PUBLIC_PRICES} {importlib.metadata.version(PUBLIC_PRICES)}"
        if not self._own:
            return public
        canonical = json.dumps(
            {name: price.model_dump(mode="json") for name, price in self._own.items()},
            sort_keys=True,
        )
        return f"{public}, EVALQUEUE_PRICES {hashlib.sha256(canonical.encode()).hexdigest()[:12]}"

    def knows(self, model: str) -> bool:
        """Whether calls of a model have a cost."""
        return model in self._own or self._public(model) is not None

    def of_batches(self) -> "PriceList":
        """The prices of calls that are parts of batches."""
        return PriceList(self._address, self._own, share=BATCH_SHARE)

    def cost(self, model: str, usage: Usage, *, at: datetime) -> Decimal | None:
        """The cost of a call at a moment in US dollars. None: it is not known."""
        cost = self._whole_cost(model, usage, at)
        return None if cost is None else cost * self._share

    def _whole_cost(self, model: str, usage: Usage, at: datetime) -> Decimal | None:
        own = self._own.get(model)
        if own is not None:
            return own.cost(usage)
        known = self._public(model)
        if known is None:
            return None
        return known.flat.cost(usage) if known.flat else self._calculated(model, usage, at)

    def _public(self, model: str) -> _Known | None:
        """Looked up once: that takes half a millisecond."""
        if model not in self._known:
            self._known[model] = self._look_up(model)
        return self._known[model]

    def _look_up(self, model: str) -> _Known | None:
        import genai_prices

        if self._address is None:
            return None
        try:
            found = genai_prices.calc_price(
                genai_prices.Usage(input_tokens=1, output_tokens=1),
                model,
                provider_api_url=self._address,
                genai_request_timestamp=datetime.now(UTC),
            )
        except LookupError:
            return None
        price = found.model_price
        values = {unit: getattr(price, unit, None) for unit in _UNITS}
        flat = isinstance(found.model.prices, type(price)) and all(
            value is None or isinstance(value, Decimal) for value in values.values()
        )
        if not flat or values["input_mtok"] is None or values["output_mtok"] is None:
            return _Known(flat=None)
        return _Known(
            flat=ModelPrice(
                input=values["input_mtok"],
                output=values["output_mtok"],
                cached=values["cache_read_mtok"],
            )
        )

    def _calculated(self, model: str, usage: Usage, at: datetime) -> Decimal | None:
        """The cost by the package's own rules, for prices by the hour or the prompt's length."""
        import genai_prices

        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        found = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=min(usage.cached_tokens or 0, usage.input_tokens),
            ),
            model,
            provider_api_url=self._address,
            genai_request_timestamp=at,
        )
        return found.total_price


def open_price_list(address: str | None, own: ModelPrices) -> PriceList:
    """A price list, with what it is made of loaded: call it in a thread."""
    if address is not None:
        load("genai_prices")
    return PriceList(address, own)
