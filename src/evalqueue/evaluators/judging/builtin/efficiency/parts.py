"""What the parts of a conversation come to, if it is judged in parts.

The verdict follows from the parts by the steps that the prompt gives to the judge: friction is
friction in whatever part, and the last part that is about the task says whether it was completed.
"""

from collections.abc import Collection, Sequence

from evalqueue.evaluators.judging.builtin.efficiency.verdicts import (
    EfficiencyAnswer,
    FrictionCause,
    FrictionTurn,
)
from evalqueue.evaluators.judging.lengths.parts import JudgedPart, PartSpan


class PartResult(PartSpan):
    """What was found in a part, as it is stored."""

    verdict: str
    task_completed: bool


def as_json(part: JudgedPart[EfficiencyAnswer]) -> PartResult:
    """A part and what was found in it, as it is stored."""
    return {
        **part.span,
        "verdict": part.answer.verdict.replace("_", " "),
        "task_completed": part.answer.task_completed,
    }


def combined(
    parts: Sequence[JudgedPart[EfficiencyAnswer]], *, measured_types: Collection[str]
) -> EfficiencyAnswer:
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


def _friction(parts: Sequence[JudgedPart[EfficiencyAnswer]]) -> list[FrictionTurn]:
    """Each turn once, in order; where two parts name it, the bot as its cause counts."""
    found: dict[int, FrictionTurn] = {}
    for part in parts:
        for each in part.answer.friction_turns:
            is_known = each.turn in found and each.cause is not FrictionCause.BOT
            if part.has(each.turn) and not is_known:
                found[each.turn] = each
    return [found[turn] for turn in sorted(found)]
