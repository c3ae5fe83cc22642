"""What a call may use at most, and what it did use."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from evalqueue.evaluators.prices.price_list import PriceList
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest, Usage

OVERHEAD_TOKENS = 256
"""What vendors add to a prompt at most: roles, and the frame around a schema."""
_MAY_BE_BILLED = frozenset(
    {
        CallOutcome.TIMEOUT,
        CallOutcome.CANCELLED,
        CallOutcome.TRUNCATED,
        CallOutcome.CONTENT_FILTER,
        CallOutcome.JUDGE_REFUSED,
        CallOutcome.SCHEMA_INVALID,
    }
)
"""Outcomes that a vendor may charge for, also where it does not report tokens. What it refused, or
could not do, is not charged."""


@dataclass(frozen=True, slots=True)
class CallAmount:
    """Dollars and tokens."""

    usd: Decimal = Decimal(0)
    tokens: int = 0

    def __add__(self, other: "CallAmount") -> "CallAmount":
        return CallAmount(self.usd + other.usd, self.tokens + other.tokens)

    def __sub__(self, other: "CallAmount") -> "CallAmount":
        return CallAmount(self.usd - other.usd, self.tokens - other.tokens)

    def __mul__(self, times: int) -> "CallAmount":
        return CallAmount(self.usd * times, self.tokens * times)

    def covers(self, other: "CallAmount") -> bool:
        return self.usd >= other.usd and self.tokens >= other.tokens


NOTHING = CallAmount()


@dataclass(slots=True, kw_only=True)
class CallAmounts:
    """What the calls of one model use, in tokens and, where its price is known, in dollars."""

    prices: PriceList
    model: str
    """As it is requested."""
    _served: set[str] = field(default_factory=set[str])
    """The names by which answers call the model."""

    def worst(self, request: CompletionRequest) -> CallAmount:
        """The most that a call can use, by today's prices of the models that answered so far."""
        input_tokens = max_input_tokens(request)
        usage = Usage(input_tokens=input_tokens, output_tokens=request.max_output_tokens)
        now = datetime.now(UTC)
        costs = [self.prices.cost(name, usage, at=now) for name in {self.model, *self._served}]
        return CallAmount(
            max((cost for cost in costs if cost is not None), default=Decimal(0)),
            input_tokens + request.max_output_tokens,
        )

    def used(self, result: Completion | ProviderError | None, *, worst: CallAmount) -> CallAmount:
        """What an attempt used. Where that is not known and it may be billed: its worst case."""
        if result is None:
            return worst
        usage = result.usage
        if usage.input_tokens is not None and usage.output_tokens is not None:
            tokens = usage.input_tokens + usage.output_tokens
            served = result.model if isinstance(result, Completion) else self.model
            self._served.add(served)
            now = datetime.now(UTC)
            cost = self.prices.cost(served, usage, at=now)
            if cost is None:
                cost = self.prices.cost(self.model, usage, at=now)
            return CallAmount(worst.usd if cost is None else cost, tokens)
        is_free = isinstance(result, ProviderError) and not (
            result.outcome in _MAY_BE_BILLED or result.is_billed or result.is_answer_lost
        )
        return NOTHING if is_free else worst


def max_input_tokens(request: CompletionRequest) -> int:
    """The most tokens that a prompt can have: no token has less than one byte."""
    schema = json.dumps(request.schema, ensure_ascii=False)
    texts = (request.system, request.prompt, request.schema_name, schema)
    return sum(len(text.encode("utf-8", "replace")) for text in texts) + OVERHEAD_TOKENS
