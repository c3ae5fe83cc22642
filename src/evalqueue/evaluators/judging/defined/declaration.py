"""What an evaluator that is made from a definition measures.

A verdict on a turn is also summed up for the conversation: the worst label, whether all is well,
or the mean. Labels without good, bad or an order have no worst one: the most frequent counts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from evalqueue.evaluators.definitions.definition import (
    Choice,
    EvaluatorDefinition,
    JudgedUnit,
    LongConversations,
    Output,
    OutputKind,
    OutputLabel,
    Verdict,
)
from evalqueue.evaluators.judging.scores import (
    EvaluatorDeclaration,
    ScoreDeclaration,
    ScoreKind,
    ScoreValue,
)

VERDICT = "verdict"
RULES_FOLLOWED = "rules_followed"
CONSISTENT = "consistent"
_TIE = "The verdict changes with the order, or both are equally good"
_CALLS = {
    JudgedUnit.TURN: "One call for each message at most.",
    JudgedUnit.CONVERSATION: "One call at most for each conversation.",
    JudgedUnit.PAIR: "Two calls at most for each conversation, one for each order of the answers.",
}


def declaration_of(definition: EvaluatorDefinition, *, has_rules: bool) -> EvaluatorDeclaration:
    """What it declares."""
    title, is_of_turns = definition.shown_title, definition.scope is JudgedUnit.TURN
    is_pair = definition.scope is JudgedUnit.PAIR
    output = _with_tie(definition.output) if is_pair else definition.output
    scores = [_score(output, VERDICT, title, per_turn=is_of_turns)]
    headline = VERDICT
    if is_of_turns:
        headline, of_what = _summary(output)
        scores.insert(0, _score(output, headline, f"{title}, {of_what}"))
    if is_pair:
        scores.append(_consistent(title))
    if has_rules:
        scores.append(
            ScoreDeclaration(
                name=RULES_FOLLOWED,
                title=f"{title}: rules followed",
                kind=ScoreKind.BOOLEAN,
                higher_is_better=True,
            )
        )
    return EvaluatorDeclaration(
        name=definition.name,
        title=title,
        question=definition.question,
        calls=_calls(definition),
        scores=tuple(scores),
        headline=headline,
        details_key=f"{definition.name}_evaluation",
    )


def _calls(definition: EvaluatorDefinition) -> str:
    if definition.long_conversations is LongConversations.NO_VERDICT:
        return _CALLS[definition.scope]
    return "One call at most for each conversation, or for each part of one that is too long."


def summed_up(verdicts: Sequence[Verdict], output: Output, *, is_whole: bool) -> ScoreValue | None:
    """The verdict on a conversation. None: there is none.

    Args:
        verdicts: on its turns, in their order.
        output: what a verdict can be.
        is_whole: whether all turns were judged. Where one is missing, nothing is said to be well.
    """
    if not verdicts:
        return None
    match output.kind:
        case OutputKind.NUMBER:
            numbers = [float(each) for each in verdicts]
            return sum(numbers) / len(numbers)
        case OutputKind.BOOLEAN:
            is_bad = (not output.higher_is_better) in verdicts
            if not is_bad and not is_whole:
                return None
            return is_bad is not output.higher_is_better
        case OutputKind.CATEGORY:
            labels = [str(each) for each in verdicts]
            if not output.is_ranked:
                return Counter(labels).most_common(1)[0][0]
            worst = max(labels, key=output.badness)
            return worst if is_whole or worst in output.bad else None


def _summary(output: Output) -> tuple[str, str]:
    """The name of the score that sums turns up, and what it is."""
    match output.kind:
        case OutputKind.NUMBER:
            return "mean", "the mean of each conversation"
        case OutputKind.BOOLEAN:
            return "worst", "in all turns" if output.higher_is_better else "in any turn"
        case OutputKind.CATEGORY if output.is_ranked:
            return "worst", "the worst turn of each conversation"
        case OutputKind.CATEGORY:
            return "most_frequent", "the most frequent of each conversation"


def _with_tie(output: Output) -> Output:
    """What a verdict on a pair can be: a tie, too, where a judge can't choose it."""
    labels = {label.name: label for label in output.labels}
    tie = labels.get(Choice.TIE, OutputLabel(name=Choice.TIE.value))
    described = replace(tie, description=tie.description or _TIE)
    return replace(output, labels=tuple((labels | {described.name: described}).values()))


def _consistent(title: str) -> ScoreDeclaration:
    return ScoreDeclaration(
        name=CONSISTENT,
        title=f"{title}: the same in both orders",
        kind=ScoreKind.BOOLEAN,
        higher_is_better=True,
    )


def _score(output: Output, name: str, title: str, *, per_turn: bool = False) -> ScoreDeclaration:
    is_category = output.kind is OutputKind.CATEGORY
    is_number = output.kind is OutputKind.NUMBER
    return ScoreDeclaration(
        name=name,
        title=title,
        kind=ScoreKind(output.kind.value),
        per_turn=per_turn,
        labels=output.label_names,
        descriptions=tuple(label.description for label in output.labels),
        good=output.good,
        bad=output.bad,
        neutral=output.neutral,
        higher_is_better=None if is_category else output.higher_is_better,
        minimum=output.minimum if is_number else None,
        maximum=output.maximum if is_number else None,
    )
