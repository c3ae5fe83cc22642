"""What has changed between two runs: each score by the conversations that both have measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from evalqueue.evaluators.comparison.changes import FlipTotals, good_values
from evalqueue.evaluators.comparison.store import (
    ComparedRun,
    Conversations,
    Flip,
    LabelChange,
    NumberChange,
    RunPair,
)
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreDeclaration, ScoreKind
from evalqueue.evaluators.statistics import paired
from evalqueue.evaluators.statistics.paired import PairedDifference


class ScoreChange(StrEnum):
    """What a comparison shows of one score."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "unclear"
    """The interval of the difference contains zero, or neither direction is the better one."""
    NOT_COMPARED = "not_compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreComparison:
    """One score of whole conversations, in both runs.

    A category or boolean is compared by the share of conversations with a good value, among those
    whose value is neither neutral nor missing in either run; a number by its mean.
    """

    evaluator: str
    name: str
    title: str
    kind: ScoreKind
    change: ScoreChange
    reason: str | None = None
    """Why it was not compared."""
    before: float | None = None
    """In the baseline."""
    after: float | None = None
    """In the candidate."""
    difference: PairedDifference | None = None
    improved: int = 0
    """Conversations whose value is a better one."""
    worsened: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A candidate run, compared with a baseline."""

    runs: RunPair
    conversations: Conversations
    notes: Sequence[str]
    """What differs between the runs besides their results."""
    scores: Sequence[ScoreComparison]
    flip_totals: FlipTotals = field(default_factory=FlipTotals)
    flips: Sequence[Flip] = ()
    """The severest changes of each direction: worse, better, other."""

    @property
    def candidate(self) -> ComparedRun:
        return self.runs.candidate

    @property
    def baseline(self) -> ComparedRun:
        return self.runs.baseline

    @property
    def compared(self) -> dict[tuple[str, str], ScoreDeclaration]:
        """The scores that could be compared, by evaluator and name."""
        return {
            (evaluator.name, declared.name): declared
            for evaluator in self.runs.candidate.declarations
            for declared in evaluator.scores
            for found in (self.score(evaluator.name, declared.name),)
            if found is not None and found.change is not ScoreChange.NOT_COMPARED
        }

    def score(self, evaluator: str, name: str) -> ScoreComparison | None:
        return next(
            (each for each in self.scores if (each.evaluator, each.name) == (evaluator, name)), None
        )


def compare(
    runs: RunPair,
    conversations: Conversations,
    labels: Sequence[LabelChange],
    numbers: Sequence[NumberChange],
) -> Comparison:
    """All scores of whole conversations that both runs declare."""
    scores = [
        _score(evaluator, declared, runs, labels, numbers)
        for evaluator in runs.candidate.declarations
        for declared in evaluator.scores
        if not declared.per_turn
    ]
    return Comparison(
        runs=runs,
        conversations=conversations,
        notes=_notes(runs, conversations),
        scores=scores,
    )


def _notes(runs: RunPair, conversations: Conversations) -> list[str]:
    notes: list[str] = []
    if runs.candidate.app_id != runs.baseline.app_id:
        notes.append(f"The apps differ: {runs.baseline.app_id} and {runs.candidate.app_id}.")
    only = [
        (conversations.candidate - conversations.both, "the candidate"),
        (conversations.baseline - conversations.both, "the baseline"),
    ]
    notes += [
        f"{count} conversation{' is' if count == 1 else 's are'} in {where} only."
        for count, where in only if count
    ]  # fmt: skip
    if conversations.changed:
        notes.append(
            f"{conversations.changed} of {conversations.both} conversations have other messages."
        )
    return notes


def _score(
    evaluator: EvaluatorDeclaration,
    declared: ScoreDeclaration,
    runs: RunPair,
    labels: Sequence[LabelChange],
    numbers: Sequence[NumberChange],
) -> ScoreComparison:
    key = (evaluator.name, declared.name)
    if reason := _obstacle(evaluator, declared, runs):
        return _not_compared(evaluator, declared, reason)
    if declared.kind is ScoreKind.NUMBER:
        found = next((each for each in numbers if (each.evaluator, each.name) == key), None)
        return _number(evaluator, declared, found)
    return _label(evaluator, declared, [e for e in labels if (e.evaluator, e.name) == key])


def _obstacle(
    evaluator: EvaluatorDeclaration, declared: ScoreDeclaration, runs: RunPair
) -> str | None:
    """Why the score of two runs can't be compared; None: it can."""
    there = next((e for e in runs.baseline.declarations if e.name == evaluator.name), None)
    other = None if there is None else there.score(declared.name)
    if other is None or other.kind is not declared.kind:
        return "The baseline has no such score"
    if evaluator.calls_llm and runs.candidate.judge != runs.baseline.judge:
        return f"The judges differ: {runs.baseline.judge} and {runs.candidate.judge}"
    before = runs.baseline.versions.get(evaluator.name, ())
    after = runs.candidate.versions.get(evaluator.name, ())
    if before and after and set(before) != set(after):
        return "The versions of the evaluator differ"
    if declared.kind is ScoreKind.CATEGORY and not declared.good:
        return "None of its labels is declared to be good"
    return None


def _not_compared(
    evaluator: EvaluatorDeclaration, declared: ScoreDeclaration, reason: str
) -> ScoreComparison:
    return ScoreComparison(
        evaluator=evaluator.name,
        name=declared.name,
        title=f"{evaluator.title}: {declared.title}",
        kind=declared.kind,
        change=ScoreChange.NOT_COMPARED,
        reason=reason,
    )


def _label(
    evaluator: EvaluatorDeclaration, declared: ScoreDeclaration, changes: Sequence[LabelChange]
) -> ScoreComparison:
    good = good_values(declared)
    judged = [
        e for e in changes if e.before not in declared.neutral and e.after not in declared.neutral
    ]
    pairs = sum(each.times for each in judged)
    if not pairs:
        return _not_compared(evaluator, declared, "No conversation has a value in both runs")
    gained = sum(e.times for e in judged if e.before not in good and e.after in good)
    lost = sum(e.times for e in judged if e.before in good and e.after not in good)
    difference = paired.of_shares(lost=lost, gained=gained, pairs=pairs)
    is_better_good = declared.kind is ScoreKind.CATEGORY or declared.higher_is_better is not False
    improved, worsened = (gained, lost) if is_better_good else (lost, gained)
    is_judged = declared.kind is ScoreKind.CATEGORY or declared.higher_is_better is not None
    return ScoreComparison(
        evaluator=evaluator.name,
        name=declared.name,
        title=f"{evaluator.title}: {declared.title}",
        kind=declared.kind,
        change=_change(difference, is_better_good if is_judged else None),
        before=sum(e.times for e in judged if e.before in good) / pairs,
        after=sum(e.times for e in judged if e.after in good) / pairs,
        difference=difference,
        improved=improved if is_judged else 0,
        worsened=worsened if is_judged else 0,
    )


def _number(
    evaluator: EvaluatorDeclaration, declared: ScoreDeclaration, found: NumberChange | None
) -> ScoreComparison:
    if found is None:
        return _not_compared(evaluator, declared, "No conversation has a value in both runs")
    difference = paired.of_numbers(pairs=found.pairs, total=found.total, squares=found.squares)
    higher = declared.higher_is_better
    improved, worsened = (
        (found.lower, found.higher) if higher is False else (found.higher, found.lower)
    )
    return ScoreComparison(
        evaluator=evaluator.name,
        name=declared.name,
        title=f"{evaluator.title}: {declared.title}",
        kind=declared.kind,
        change=ScoreChange.UNCLEAR if difference is None else _change(difference, higher),
        before=found.before,
        after=found.after,
        difference=difference,
        improved=0 if higher is None else improved,
        worsened=0 if higher is None else worsened,
    )


def _change(difference: PairedDifference, higher_is_better: bool | None) -> ScoreChange:
    if higher_is_better is None or difference.low <= 0 <= difference.high:
        return ScoreChange.UNCLEAR
    return ScoreChange.BETTER if (difference.low > 0) is higher_is_better else ScoreChange.WORSE
