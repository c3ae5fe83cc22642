"""A conversation that is too long for the judge is judged in parts that overlap.

It is halved until the parts fit. The verdict follows from the parts by the steps that the prompt
gives to the judge: friction is friction in whatever part, and the last part that is about the task
says whether it was completed.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypedDict

from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.judging.builtin.efficiency.verdicts import (
    EfficiencyAnswer,
    FrictionCause,
    FrictionTurn,
)
from evalqueue.evaluators.judging.evaluator import Failure
from evalqueue.evaluators.providers.errors import CallOutcome

_OVERLAP_TURNS = 2  # on each side of the middle
_HALVINGS_MAX = 4  # 16 parts
_TURNS_MIN = 4 * _OVERLAP_TURNS

Ask = Callable[[Sequence[Turn]], Awaitable[EfficiencyAnswer | Failure]]


class PartResult(TypedDict):
    """What was found in a part, as it is stored."""

    first_turn: int
    last_turn: int
    verdict: str
    task_completed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPart:
    """Some turns in a row, and what the judge says about them."""

    turns: Sequence[Turn]
    answer: EfficiencyAnswer

    @property
    def name(self) -> str:
        return f"Turns {self.turns[0].number} to {self.turns[-1].number}"

    def has(self, turn: int) -> bool:
        return self.turns[0].number <= turn <= self.turns[-1].number

    def as_json(self) -> PartResult:
        return {
            "first_turn": self.turns[0].number,
            "last_turn": self.turns[-1].number,
            "verdict": self.answer.verdict.replace("_", " "),
            "task_completed": self.answer.task_completed,
        }


async def judged(
    ask: Ask, turns: Sequence[Turn], *, halvings: int = _HALVINGS_MAX
) -> list[JudgedPart] | Failure:
    """The answers about some turns, in as many parts as are needed; or why one has none."""
    answer = await ask(turns)
    if not isinstance(answer, Failure):
        return [JudgedPart(turns=turns, answer=answer)]
    is_too_long = answer.reason is CallOutcome.CONTEXT_TOO_LONG
    if not is_too_long or not halvings or len(turns) < _TURNS_MIN:
        return answer
    middle = len(turns) // 2
    found: list[JudgedPart] = []
    for half in (turns[: middle + _OVERLAP_TURNS], turns[middle - _OVERLAP_TURNS :]):
        parts = await judged(ask, half, halvings=halvings - 1)
        if isinstance(parts, Failure):
            return parts  # a conversation of which a part was not judged has no verdict
        found += parts
    return found


def note(thread: Thread, turns: Sequence[Turn]) -> str:
    """A line that says which part is shown. Empty: it is the whole conversation."""
    if len(turns) == len(thread.turns):
        return ""
    return (
        f"\nShown is a part: turns {turns[0].number} to {turns[-1].number} of "
        f"{len(thread.turns)}. The other parts are judged by themselves: judge what is shown, "
        "and task_completed as it stands at the end of this part."
    )


def combined(parts: Sequence[JudgedPart], *, measured_types: Collection[str]) -> EfficiencyAnswer:
    """What the parts say about the whole."""
    if len(parts) == 1:
        return parts[0].answer
    # Parts of another kind, such as thanks at the end, say nothing about the task.
    measured = [each.answer for each in parts if each.answer.thread_type in measured_types]
    last = measured[-1] if measured else parts[-1].answer
    friction = _friction(parts)
    by_bot = any(each.cause is FrictionCause.BOT for each in friction)
    verdict = last.verdict if last.verdict in {"BROKEN", "INCOMPLETE"} else "ACCEPTABLE"
    if not measured:
        verdict = "NOT_APPLICABLE"
    elif last.task_completed:
        verdict = "FRICTION" if by_bot else "ACCEPTABLE"
    elif verdict == "ACCEPTABLE":  # the last part says neither why nor how it ended
        verdict = "BROKEN" if by_bot else "INCOMPLETE"
    recoveries = [each.answer.recovery_quality for each in parts]
    needed = [each for each in recoveries if each != "NOT_NEEDED"]
    return last.model_copy(
        update={
            "friction_turns": friction,
            "verdict": verdict,
            "recovery_quality": needed[-1] if needed else "NOT_NEEDED",
            "incomplete_reason": last.incomplete_reason if verdict == "INCOMPLETE" else None,
            "evidence": [quote for each in parts for quote in each.answer.evidence],
            "rule_compliance": [row for each in parts for row in each.answer.rule_compliance],
            "reasoning": "\n".join(f"{each.name}: {each.answer.reasoning}" for each in parts),
        }
    )


def _friction(parts: Sequence[JudgedPart]) -> list[FrictionTurn]:
    """Each turn once, in order; where two parts name it, the bot as its cause counts."""
    found: dict[int, FrictionTurn] = {}
    for part in parts:
        for each in part.answer.friction_turns:
            is_known = each.turn in found and each.cause is not FrictionCause.BOT
            if part.has(each.turn) and not is_known:
                found[each.turn] = each
    return [found[turn] for turn in sorted(found)]
