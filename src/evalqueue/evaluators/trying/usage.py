"""What calls used that were recorded in memory."""

from collections.abc import Sequence
from decimal import Decimal

from evalqueue.evaluators.prices.costs import shown
from evalqueue.evaluators.prices.price_list import PriceList
from evalqueue.evaluators.providers.recorder import CallRecord
from evalqueue.evaluators.trying.findings import UsedByEvaluator


def used(records: Sequence[CallRecord], prices: PriceList) -> UsedByEvaluator:
    """What some calls used."""
    costs = [prices.cost(each.model, each.usage, at=each.started_at) for each in records]
    known = [cost for cost in costs if cost is not None]
    return {
        "calls": len(records),
        "tokens_in": sum(each.usage.input_tokens or 0 for each in records),
        "tokens_out": sum(each.usage.output_tokens or 0 for each in records),
        "cost_usd": shown(sum(known, Decimal(0))) if known else None,
    }


def in_words(used: UsedByEvaluator) -> str:
    """What calls used, on a line for people."""
    cost = "price unknown" if used["cost_usd"] is None else f"${used['cost_usd']}"
    return (
        f"calls: {used['calls']}, tokens: {used['tokens_in']} in, {used['tokens_out']} out, {cost}"
    )
