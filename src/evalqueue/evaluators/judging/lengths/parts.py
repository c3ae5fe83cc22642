"""A conversation that is too long for the judge is judged in parts that overlap.

It is halved until the parts fit. What the answers come to is the evaluator's matter.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypedDict

from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.judging.answers import A
from evalqueue.evaluators.judging.evaluator import Failure
from evalqueue.evaluators.judging.judge import concurrently
from evalqueue.evaluators.providers.errors import CallOutcome

_OVERLAP_TURNS = 2  # on each side of the middle
_HALVINGS_MAX = 4  # 16 parts
_TURNS_MIN = 4 * _OVERLAP_TURNS

IDENTITY = {"overlap_turns": _OVERLAP_TURNS, "halvings": _HALVINGS_MAX}
"""What of it can change a verdict, for an evaluator's version."""

Ask = Callable[[Sequence[Turn]], Awaitable[A | Failure]]
"""Asks about some turns in a row; the last one is the judged one, where one turn is judged."""


class PartSpan(TypedDict):
    """Which turns a part has, as it is stored."""

    first_turn: int
    last_turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPart(Generic[A]):
    """Some turns in a row, and what the judge says about them."""

    turns: Sequence[Turn]
    answer: A

    @property
    def name(self) -> str:
        return _name(self.turns)

    @property
    def span(self) -> PartSpan:
        return {"first_turn": self.turns[0].number, "last_turn": self.turns[-1].number}

    def has(self, turn: int) -> bool:
        return self.turns[0].number <= turn <= self.turns[-1].number


def is_too_long(answer: object) -> bool:
    """Whether an answer is missing because the judge can't read so much."""
    return isinstance(answer, Failure) and answer.reason is CallOutcome.CONTEXT_TOO_LONG


def can_be_halved(turns: Sequence[Turn]) -> bool:
    """Whether there are enough turns for two parts that overlap."""
    return len(turns) >= _TURNS_MIN


async def judged(
    ask: Ask[A], turns: Sequence[Turn], *, in_parts: bool = True
) -> list[JudgedPart[A]] | Failure:
    """The answers about some turns, in as many parts as are needed; or why one has none.

    The halves are asked about side by side, so that in economy mode one batch has both.
    """
    answer = await ask(turns)
    if not isinstance(answer, Failure):
        return [JudgedPart(turns=turns, answer=answer)]
    if not in_parts or not is_too_long(answer) or not can_be_halved(turns):
        return answer
    return await _halved(ask, turns, _HALVINGS_MAX)


async def _halved(
    ask: Ask[A], turns: Sequence[Turn], halvings: int
) -> list[JudgedPart[A]] | Failure:
    middle = len(turns) // 2
    halves = (turns[: middle + _OVERLAP_TURNS], turns[middle - _OVERLAP_TURNS :])
    found: list[JudgedPart[A]] = []
    for parts in await concurrently(_part(ask, each, halvings - 1) for each in halves):
        if isinstance(parts, Failure):
            return parts  # a conversation of which a part was not judged has no verdict
        found += parts
    return found


async def _part(ask: Ask[A], turns: Sequence[Turn], halvings: int) -> list[JudgedPart[A]] | Failure:
    answer = await ask(turns)
    if not isinstance(answer, Failure):
        return [JudgedPart(turns=turns, answer=answer)]
    if is_too_long(answer) and halvings and can_be_halved(turns):
        return await _halved(ask, turns, halvings)
    return replace(answer, message=f"{_name(turns)}: {answer.message}")


def note(thread: Thread, turns: Sequence[Turn], end: str) -> str:
    """A line that says which part is shown. Empty: it is the whole conversation.

    Args:
        thread: the conversation.
        turns: what is shown of it.
        end: the rest of a sentence: how a part is to be judged.
    """
    if len(turns) == len(thread.turns):
        return ""
    return (
        f"\nShown is a part: turns {turns[0].number} to {turns[-1].number} of "
        f"{len(thread.turns)}. The other parts are judged by themselves: judge what is shown, {end}"
    )


def _name(turns: Sequence[Turn]) -> str:
    return f"Turns {turns[0].number} to {turns[-1].number}"
