"""The verdicts of correctness, and what both of its questions share."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, NotRequired, Protocol, TypedDict

from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.judging.evaluator import Failure
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.judging.quotes import CheckedQuote
from evalqueue.evaluators.judging.rules import RuleResult

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


class UnjudgedResult(TypedDict):
    """Why an answer was not judged, as it is stored."""

    turn: int
    response_id: str | None
    judged: Literal[False]
    verdict: str
    reasoning: str


class ComparedResult(TypedDict):
    """What the comparison of an answer with what is known brought."""

    compared_with: Sequence[str]
    contradictions: Sequence[Mapping[str, Any]]
    unsupported: Sequence[str]
    missing: Sequence[str]


class JudgedResult(TypedDict):
    """What one question, or both, found about an answer, as it is stored."""

    turn: int
    response_id: str | None
    judged: Literal[True]
    verdict: str
    judge_verdict: str
    override: str | None
    """Why the verdict isn't the judge's."""
    reasoning: str
    evidence: list[CheckedQuote]
    has_image_context: bool
    image_context: str
    rule_compliance: list[RuleResult]
    calorie_sanity: NotRequired[Mapping[str, Any]]
    """This and the next ones: of the question about figures, as the judge answers it."""
    arithmetic_consistency: NotRequired[Mapping[str, Any]]
    quantity_coherence: NotRequired[Mapping[str, Any]]
    computed: NotRequired[Mapping[str, object] | None]
    references: NotRequired[ComparedResult]


class Aspect(Protocol):
    """One question about an answer."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that can change its verdicts, as JSON or values."""
        ...

    def asks(self, turn: Turn) -> bool:
        """Whether it is asked about the answer of a turn."""
        ...

    async def ask(self, thread: Thread, turn: Turn, judge: Judge) -> JudgedResult | Failure:
        """What the judge finds, or why it finds nothing."""
        ...


def worst(verdicts: Iterable[Correctness]) -> Correctness | None:
    """The most severe of some verdicts; None when nothing was measured."""
    return max(verdicts, key=SEVERITY.index, default=None)


def context(thread: Thread, turn: Turn, *, before: int) -> Sequence[Turn]:
    """The turn and so many just before it."""
    earlier = [each for each in thread.turns if each.number < turn.number]
    return [*earlier[max(0, len(earlier) - before) :], turn]
