"""The calls of jobs and commands without a run: what they used, and what they were answered."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TypedDict
from uuid import UUID

from psycopg.rows import dict_row

from evalqueue.evaluators.prices.costs import shown
from evalqueue.evaluators.prices.price_list import PriceList
from evalqueue.evaluators.providers.earlier.replay import RecordedAnswer
from evalqueue.evaluators.providers.recorder import CallRecord
from evalqueue.evaluators.runs.store import recorded_answer
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load

QUERIES = load("evaluation/job_calls")


class UsedByEvaluator(TypedDict):
    """What the calls of an evaluator used."""

    calls: int
    tokens_in: int
    tokens_out: int
    cost_usd: str | None
    """None: the price of the model is not known."""


NO_CALLS: UsedByEvaluator = {"calls": 0, "tokens_in": 0, "tokens_out": 0, "cost_usd": None}
"""What an evaluator used that had nothing to ask."""


async def recorded(
    connection: Connection, job_id: UUID, thread_id: str | None = None
) -> list[RecordedAnswer]:
    """The answers that earlier attempts bought, for a conversation or all, newest first."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES["recorded"], {"job_id": job_id, "thread_id": thread_id})
        return [recorded_answer(row) async for row in cursor]


async def of_job(
    connection: Connection, job_id: UUID, thread_id: str | None = None
) -> dict[str, UsedByEvaluator]:
    """What the calls of each evaluator used, about one conversation or all."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES["usage"], {"job_id": job_id, "thread_id": thread_id})
        return {
            row["evaluator"]: {
                "calls": row["calls"],
                "tokens_in": row["tokens_in"],
                "tokens_out": row["tokens_out"],
                "cost_usd": shown(row["cost_usd"]),
            }
            async for row in cursor
        }


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
