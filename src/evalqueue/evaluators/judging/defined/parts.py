"""What the parts of a conversation come to, if it is too long to be judged at once."""

from collections.abc import Sequence
from statistics import fmean

from evalqueue.evaluators.definitions.definition import LongConversations, Output, Verdict
from evalqueue.evaluators.judging.defined.answers import AnyDefinedAnswer, DefinedAnswerWithRules
from evalqueue.evaluators.judging.lengths.parts import JudgedPart, PartSpan
from evalqueue.evaluators.judging.scores import ScoreValue

_COUNTS = {
    LongConversations.WORST: "the worst one counts",
    LongConversations.BEST: "the best one counts",
    LongConversations.LAST: "the last one that applies counts",
    LongConversations.MEAN: "their mean counts",
}

Part = JudgedPart[AnyDefinedAnswer]


class DefinedPart(PartSpan):
    """What was found in a part, as it is stored."""

    verdict: ScoreValue


def as_json(part: Part) -> DefinedPart:
    """A part and what was found in it, as it is stored."""
    return {**part.span, "verdict": part.answer.verdict}


def combined(parts: Sequence[Part], output: Output, rule: LongConversations) -> AnyDefinedAnswer:
    """What the parts say about the whole, with the evidence of those that decide."""
    if len(parts) == 1:
        return parts[0].answer
    verdict, deciding = decided(parts, output, rule)
    reasons = [f"{each.name}, {_said(each)}: {each.answer.reasoning}" for each in parts]
    changes: dict[str, object] = {
        "verdict": verdict,
        "evidence": [quote for each in deciding for quote in each.answer.evidence],
        "reasoning": "\n".join([f"Judged in {len(parts)} parts: {_COUNTS[rule]}.", *reasons]),
    }
    answer = parts[0].answer
    if isinstance(answer, DefinedAnswerWithRules):
        answers = [each.answer for each in parts]
        changes["rule_compliance"] = [
            finding
            for each in answers
            if isinstance(each, DefinedAnswerWithRules)
            for finding in each.rule_compliance
        ]
    return answer.model_copy(update=changes)


def _said(part: Part) -> str:
    verdict = part.answer.verdict
    if isinstance(verdict, bool):
        return str(verdict).lower()
    return verdict if isinstance(verdict, str) else f"{verdict:g}"


def decided(
    parts: Sequence[Part], output: Output, rule: LongConversations
) -> tuple[Verdict, Sequence[Part]]:
    """The verdict on the whole, and the parts that it follows from.

    Raises:
        ValueError: the rule gives no verdict.
    """
    # What a part says about nothing, such as thanks at the end, is no verdict on the others.
    telling = [each for each in parts if each.answer.verdict not in output.neutral] or parts
    match rule:
        case LongConversations.NO_VERDICT:
            raise ValueError("Parts of a conversation that is not judged in parts")
        case LongConversations.LAST:
            return telling[-1].answer.verdict, telling[-1:]
        case LongConversations.MEAN:
            numbers = [float(each.answer.verdict) for each in parts]
            return fmean(numbers, [len(each.turns) for each in parts]), parts
        case LongConversations.WORST | LongConversations.BEST:
            choose = max if rule is LongConversations.WORST else min
            verdict = choose((each.answer.verdict for each in telling), key=output.badness)
            return verdict, [each for each in telling if each.answer.verdict == verdict]
