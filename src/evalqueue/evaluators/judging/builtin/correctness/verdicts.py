"""The verdicts of correctness, and what both of its questions share."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.judging.evaluator import Failure
from evalqueue.evaluators.judging.judge import Judge

NAME = "correctness"


class Correctness(StrEnum):
    """Is the bot's answer right? In order of severity, mildest first."""

    NOT_APPLICABLE = "NOT APPLICABLE"
    PASS = "PASS"  # noqa: S105  a verdict, not a password
    SOFT_FAIL = "SOFT FAIL"
    HARD_FAIL = "HARD FAIL"
    CRITICAL = "CRITICAL"


SEVERITY = list(Correctness)
FAILING = (Correctness.CRITICAL, Correctness.HARD_FAIL)

Row = Mapping[str, Any]
"""What was found about one answer, as JSON."""


class Aspect(Protocol):
    """One question about an answer."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that can change its verdicts, as JSON or values."""
        ...

    def asks(self, turn: Turn) -> bool:
        """Whether it is asked about the answer of a turn."""
        ...

    async def ask(self, thread: Thread, turn: Turn, judge: Judge) -> Row | Failure:
        """What the judge finds, or why it finds nothing."""
        ...


def worst(verdicts: Iterable[Correctness]) -> Correctness | None:
    """The most severe of some verdicts; None when nothing was measured."""
    return max(verdicts, key=SEVERITY.index, default=None)


def context(thread: Thread, turn: Turn, *, before: int) -> Sequence[Turn]:
    """The turn and so many just before it."""
    earlier = [each for each in thread.turns if each.number < turn.number]
    return [*earlier[max(0, len(earlier) - before) :], turn]
