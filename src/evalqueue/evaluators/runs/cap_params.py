"""The params of a job about what its LLM calls may cost, and the check of those at submission."""

import asyncio
from decimal import Decimal
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from evalqueue.errors import InvalidParams
from evalqueue.evaluators.caps.ledger import used_in_month
from evalqueue.evaluators.caps.limits import Caps, CapSettings, Dollars, in_dollars
from evalqueue.evaluators.prices.price_list import PriceList, PriceSettings, open_price_list
from evalqueue.evaluators.providers.registry import ModelChoice, ProviderSettings, price_address
from evalqueue.jobtypes import AdmissionContext

MAX_TOKENS = 1_000_000_000_000


class SupportsCaps(Protocol):
    """Params with the fields of `CapParams`."""

    @property
    def max_cost(self) -> Decimal | None: ...
    @property
    def max_tokens(self) -> int | None: ...


class CapParams(BaseModel):
    """How much the LLM calls of a job may use, in all its attempts and helper jobs together. At the
    cap the job fails, with all that was judged; `retry` goes on with as much again."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    max_cost: Dollars | None = None
    """US dollars at most, as decimal text: "1.50". It needs a model whose price is known."""
    max_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    """Input and output tokens at most."""


def caps_of(params: SupportsCaps, owner: str) -> Caps:
    """The caps of a job: those of its params, and the monthly one of its owner."""
    return Caps.of(CapSettings(), owner, usd=params.max_cost, tokens=params.max_tokens)


async def price_list(settings: ProviderSettings, choice: ModelChoice) -> PriceList:
    """The prices that hold for a choice, by the settings of this process."""
    own = PriceSettings().evalqueue_prices
    # In a thread: loading the public prices takes some tenths of a second.
    return await asyncio.to_thread(open_price_list, price_address(settings, choice.provider), own)


def unpriced(caps: Caps, prices: PriceList, choice: ModelChoice, owner: str) -> str | None:
    """Why caps in dollars can't be kept. None: they can."""
    if not caps.needs_price or prices.knows(choice.model):
        return None
    what = (
        "max_cost"
        if caps.job_usd is not None
        else f"The monthly cap of {in_dollars(caps.month_usd or Decimal(0))} for {owner}"
    )
    return (
        f"{what} can't be kept: the price of {choice.provider}/{choice.model} is not known. "
        "Set it in EVALQUEUE_PRICES, or use max_tokens"
    )


async def refuse_used_up(admission: AdmissionContext, *, calls_llm: bool = True) -> None:
    """Refuse a job of an owner whose monthly cap is used up. One that starts later may find a new
    month.

    Args:
        calls_llm: whether the job needs an LLM at all.

    Raises:
        InvalidParams: no call would be made.
    """
    limit = CapSettings().of(admission.owner)
    if limit is None or not (admission.is_due and calls_llm):
        return
    if await used_in_month(admission.database, admission.owner) >= limit:
        raise InvalidParams.of_all(
            f"The monthly cap of {in_dollars(limit)} for {admission.owner} is used up. Raise it in "
            "EVALQUEUE_MONTHLY_CAPS, or submit again next month"
        )


async def refuse_unpriced(
    params: CapParams, settings: ProviderSettings, choice: ModelChoice, owner: str
) -> None:
    """Refuse a cap in dollars on a model without a price.

    Raises:
        InvalidParams: it can't be kept.
    """
    caps = caps_of(params, owner)
    if not caps.needs_price:
        return
    prices = await price_list(settings, choice)
    problem = unpriced(caps, prices, choice, owner)
    if problem is not None:
        raise InvalidParams.of("llm_model" if params.max_cost is None else "max_cost", problem)
