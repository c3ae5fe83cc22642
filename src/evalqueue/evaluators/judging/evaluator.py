"""What an evaluator is and what it returns. `registry` lists those there are.

An evaluator turns one thread into an `Evaluation`. A judge that could not decide is a `Failure`
*inside* it, beside whatever else was measured: each message is its own error boundary.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, Score, ScoreValue
from evalqueue.evaluators.providers.errors import CallOutcome

if TYPE_CHECKING:
    from evalqueue.evaluators.judging.judge import Judge


class StoredFailure(TypedDict):
    """A `Failure`, as it is stored."""

    evaluator: str
    reason: str
    message: str
    turn: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there is no verdict: never a verdict itself, and outside every rate."""

    evaluator: str
    reason: CallOutcome
    message: str
    turn: int | None = None
    """The turn it concerns; None: the whole thread."""

    def as_json(self) -> StoredFailure:
        return {
            "evaluator": self.evaluator,
            "reason": self.reason.value,
            "message": self.message,
            "turn": self.turn,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What one evaluator found in one thread."""

    declaration: EvaluatorDeclaration
    version: str
    """Hash of everything that can change a score: prompt, schema, menu, parameters, parser."""
    scores: tuple[Score, ...] = ()
    details: Any
    """JSON: the per-message list, or the thread's object."""
    task_completed: bool | None = None
    """Whether the conversation was a success for the user; None: the evaluator can't tell."""
    failures: tuple[Failure, ...] = field(default_factory=tuple)
    unknown: int = 0
    """Answers that the data do not allow: neither judged, nor failures that a retry could mend."""

    @property
    def evaluator(self) -> str:
        return self.declaration.name

    @property
    def headline(self) -> ScoreValue | None:
        """The value that stands for the evaluator; None: not measured."""
        name = self.declaration.headline
        return next((s.value for s in self.scores if s.turn is None and s.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How many answers an evaluator was to find, and how many it found."""

    judged: int = 0
    attempted: int = 0

    def __add__(self, other: "Coverage") -> "Coverage":
        return Coverage(
            judged=self.judged + other.judged, attempted=self.attempted + other.attempted
        )

    @property
    def rate(self) -> float | None:
        return self.judged / self.attempted if self.attempted else None

    def as_json(self) -> dict[str, int]:
        return {"judged": self.judged, "attempted": self.attempted}


class Evaluator(Protocol):
    """thread → evaluation."""

    @property
    def declaration(self) -> EvaluatorDeclaration: ...

    @property
    def version(self) -> str: ...

    async def evaluate(self, thread: Thread, judge: "Judge") -> Evaluation:
        """Judge one thread.

        Never raises for a judge's failure; only for what stops the job
        (`CallOutcome.stops_the_job`) and for cancellation.
        """
        ...
