"""What LLM calls have cost."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load

QUERIES = load("evaluation/costs")
MAX_GROUPS = 1000


class CostGroup(StrEnum):
    """What costs are added up by."""

    MODEL = "model"
    """Provider and model, as served."""
    EVALUATOR = "evaluator"
    RUN = "run"
    """`no run`: jobs without a run, and runs that were deleted."""
    OWNER = "owner"
    MONTH = "month"
    """In UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The LLM calls of a group. Answers that were replayed are not counted again."""

    name: str
    calls: int
    batched_calls: int
    """Those of them that were parts of batches, at half price."""
    tokens_in: int | None
    """None: no call reported any."""
    tokens_out: int | None
    cost_usd: Decimal | None
    """Of the calls whose price is known. None: of none."""
    unpriced_calls: int
    """Calls with tokens, of models whose price is unknown."""


async def costs(
    connection: Connection, by: CostGroup, *, since: datetime, owner: str | None = None
) -> list[Cost]:
    """The costs of calls that started since the hour of a moment (in UTC); the dearest group first,
    at most 1,000.

    An owner of None means all owners.
    """
    return await QUERIES.rows(
        connection, Cost, "costs", by=by.value, since=since, owner=owner, limit=MAX_GROUPS
    )


def shown(cost: Decimal | None) -> str | None:
    """A sum as JSON and people get it: all its digits, and no exponent."""
    return None if cost is None else format(cost.normalize(), "f")
