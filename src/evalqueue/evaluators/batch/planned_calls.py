"""How many LLM calls a batch would make.

They are counted, not estimated: each evaluator says how many it makes for a conversation, for a
message, and for which answers of the bot.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from psycopg.rows import class_row

from evalqueue.evaluators.datasets.store import QUERIES, JudgedCounts
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.plan import CallCounts, EvaluationPlan
from evalqueue.postgres.database import Connection, Database

_STRETCH_BYTES = 1024**2  # of conversations as they are stored, compressed

Marks = Callable[[str], int]
"""Which evaluators make a call for an answer of the bot, as bits in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCalls:
    """LLM calls, if none has to be repeated."""

    evaluators: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.evaluators.values())


NO_CALLS = PlannedCalls(evaluators={})


def _counts_of(plan: EvaluationPlan) -> dict[str, CallCounts]:
    return {kind.name: kind.calls(plan) for kind in registry.chosen(plan)}


def looks_at_answers(plan: EvaluationPlan) -> bool:
    """Whether the calls depend on what the bot answered."""
    return any(each.for_answer is not None for each in _counts_of(plan).values())


def marks_of(plan: EvaluationPlan) -> Marks:
    """The marks that the chosen evaluators give to an answer."""
    asked = [
        (1 << bit, each.for_answer)
        for bit, each in enumerate(_counts_of(plan).values())
        if each.for_answer is not None
    ]
    return lambda text: sum(mark for mark, for_answer in asked if for_answer(text))


def planned(plan: EvaluationPlan, counts: JudgedCounts, marked: Mapping[int, int]) -> PlannedCalls:
    """The calls for so many conversations, messages, and answers with each combination of marks."""
    votes = {kind.name: registry.votes_of(kind, plan) for kind in registry.chosen(plan)}
    return PlannedCalls(
        evaluators={
            name: votes[name]
            * (
                each.per_thread * counts.threads
                + each.per_turn * counts.messages
                + sum(messages for marks, messages in marked.items() if marks >> bit & 1)
            )
            for bit, (name, each) in enumerate(_counts_of(plan).items())
        }
    )


async def marked_answers(
    database: Database, dataset_id: str, wanted: Sequence[str] | None, marks: Marks
) -> Counter[int]:
    """The answers of some conversations by their marks; read in stretches, in order."""
    ids = None if wanted is None else list(wanted)
    arguments = {"dataset_id": dataset_id, "thread_ids": ids, "bytes": _STRETCH_BYTES}
    async with database.long_read() as connection:
        cursor = await connection.execute(QUERIES["stretches"], arguments)
        ends = [end for (end,) in await cursor.fetchall()]
        total, after = Counter[int](), 0
        for until in ends:
            stretch = arguments | {"after": after, "until": until}
            cursor = await connection.execute(QUERIES["bot_texts"], stretch)
            texts = [text for (text,) in await cursor.fetchall()]
            total += await asyncio.to_thread(_count, texts, marks)
            after = until
    return total


def _count(documents: Sequence[str], marks: Marks) -> Counter[int]:
    return Counter(
        marks(text)
        for document in documents
        for text in cast("list[str]", json.loads(document))  # what SQL has made
    )


async def staged_ids(connection: Connection) -> list[str]:
    """The conversations of a file that is staged."""
    cursor = await connection.execute(QUERIES["staged_ids"])
    return [thread_id async for (thread_id,) in cursor]


async def staged_counts(connection: Connection, wanted: Sequence[str] | None) -> JudgedCounts:
    """How much of a file that is staged is judged."""
    ids = None if wanted is None else list(wanted)
    async with connection.cursor(row_factory=class_row(JudgedCounts)) as cursor:
        await cursor.execute(QUERIES["staged_counts"], {"thread_ids": ids})
        (found,) = await cursor.fetchall()
    return found


async def staged_marks(connection: Connection, wanted: Sequence[str] | None) -> dict[int, int]:
    """How many of its answers have which marks."""
    ids = None if wanted is None else list(wanted)
    cursor = await connection.execute(QUERIES["staged_marks"], {"thread_ids": ids})
    return dict(await cursor.fetchall())
