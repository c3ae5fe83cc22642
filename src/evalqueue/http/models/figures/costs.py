"""What LLM calls have cost."""

from evalqueue.evaluators.prices.costs import CostGroup
from evalqueue.http.models.fields import Dollars, Model, Moment, Since


class CostsRequest(Model):
    """How to add up costs, and of which calls."""

    by: CostGroup = CostGroup.MODEL
    since: Since | None = None
    """Only calls that started since the beginning of this hour. Default: this month in UTC."""


class CostJson(Model):
    """The LLM calls of a group; each attempt that was sent to a vendor is one."""

    name: str
    calls: int
    batched_calls: int
    """Those of them that were parts of batches, at half price."""
    tokens_in: int | None
    """Null: no call reported any."""
    tokens_out: int | None
    cost_usd: Dollars | None
    """Of the calls whose price is known; null: of none."""
    unpriced_calls: int
    """Calls with tokens, of models whose price is unknown."""


class Costs(Model):
    """What LLM calls have cost, the dearest group first; at most 1,000 groups."""

    by: CostGroup
    since: Moment
    costs: list[CostJson]
