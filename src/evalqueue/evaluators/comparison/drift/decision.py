"""Decides whether a judge has drifted, by the values of two runs of the same conversations.

Two tests of each score: whether values have shifted to one side (McNemar's exact test; of numbers,
the sign test), and whether more labels differ than an unchanged judge may flip (a binomial test).
Their p-values are adjusted by Holm's method, so that a judge that is the same raises an alarm at
most as often as the params say, however many scores there are. A model that is served under
another name is an alarm by itself.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from evalqueue.evaluators.comparison.compare import Comparison, ScoreChange, ScoreComparison
from evalqueue.evaluators.comparison.store import LabelChange, NumberChange
from evalqueue.evaluators.judging.scores import ScoreKind
from evalqueue.evaluators.statistics.agreement import (
    Agreement,
    RatedItems,
    cohens_kappa,
    with_interval,
)
from evalqueue.evaluators.statistics.paired import mcnemar
from evalqueue.evaluators.statistics.significance import holm, more_often_than


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """When a difference is an alarm."""

    false_alarm_rate: float
    tolerated_flips: float
    """The share of labels that an unchanged judge may flip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgements:
    """All that two runs of the same conversations differ in."""

    comparison: Comparison
    labels: Sequence[LabelChange]
    numbers: Sequence[NumberChange]
    served_before: Sequence[str] = ()
    """Names of models as the vendor served them."""
    served_now: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreDrift:
    """One score of whole conversations, judged twice."""

    evaluator: str
    name: str
    title: str
    pairs: int
    """Values that both runs have."""
    flips: int
    """Values that differ."""
    better: int
    worse: int
    before: float | None
    """The share of good values, or the mean."""
    now: float | None
    detectable: float | None
    """The smallest true difference of those that so many pairs show with a probability of 80 %."""
    labels: RatedItems
    """How many values had one label and have another, or the same; none: of numbers."""
    p_shift: float | None
    """None: neither direction is the better one."""
    p_flips: float | None
    """None: of numbers."""

    def kappa(self) -> Agreement | None:
        """How well both runs agree, by resampling, which takes a while. None: of numbers, or both
        have a single label."""
        return with_interval(self.labels, cohens_kappa) if self.labels else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedScore:
    """A score, and whether it is an alarm."""

    drift: ScoreDrift
    p_value: float
    """The smaller one of its tests, adjusted for all tests of all scores."""
    alarm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftDecision:
    """What a check comes to."""

    alarm: bool
    reasons: Sequence[str]
    scores: Sequence[DecidedScore]
    served_before: Sequence[str]
    served_now: Sequence[str]
    model_changed: bool
    decidable: bool
    """Whether there were enough values for an alarm, if all of them had differed."""


def decide(found: Judgements, tolerance: Tolerance) -> DriftDecision:
    """Look at every score that can be compared, and at the names of the models."""
    drifts = measured(found, tolerance)
    decided = decide_scores(drifts, tolerance.false_alarm_rate)
    new = sorted(set(found.served_now) - set(found.served_before))
    model_changed = bool(new and found.served_before)
    decidable = model_changed or _may_alarm(drifts, tolerance)
    reasons = [_reason(each) for each in decided if each.alarm]
    if model_changed:
        before = ", ".join(found.served_before)
        reasons.append(f"The vendor serves {', '.join(new)}; before, it served {before}")
    return DriftDecision(
        alarm=bool(reasons),
        reasons=reasons or [_no_alarm(decided, decidable=decidable)],
        scores=decided,
        served_before=found.served_before,
        served_now=found.served_now,
        model_changed=model_changed,
        decidable=decidable,
    )


def _may_alarm(drifts: Sequence[ScoreDrift], tolerance: Tolerance) -> bool:
    """Whether the clearest difference that so many values can show is an alarm."""
    clearest = [
        p
        for each in drifts
        for p in (
            None if each.p_shift is None else mcnemar(0, each.pairs),
            None
            if each.p_flips is None
            else more_often_than(tolerance.tolerated_flips, times=each.pairs, trials=each.pairs),
        )
        if p is not None
    ]
    return any(p <= tolerance.false_alarm_rate for p in holm(clearest))


def measured(found: Judgements, tolerance: Tolerance) -> list[ScoreDrift]:
    """How each score that both runs measured differs."""
    return [
        drift
        for each in found.comparison.scores
        for drift in [_score(each, found, tolerance)]
        if drift is not None
    ]


def decide_scores(drifts: Sequence[ScoreDrift], false_alarm_rate: float) -> list[DecidedScore]:
    """All tests of all scores are one family."""
    tests = [
        (index, p)
        for index, each in enumerate(drifts)
        for p in (each.p_shift, each.p_flips)
        if p is not None
    ]
    smallest = [1.0] * len(drifts)
    for (index, _), adjusted in zip(tests, holm([p for _, p in tests]), strict=True):
        smallest[index] = min(smallest[index], adjusted)
    return [
        DecidedScore(drift=each, p_value=p, alarm=p <= false_alarm_rate)
        for each, p in zip(drifts, smallest, strict=True)
    ]


def _score(each: ScoreComparison, found: Judgements, tolerance: Tolerance) -> ScoreDrift | None:
    key = (each.evaluator, each.name)
    if each.kind is ScoreKind.NUMBER:
        number = next((n for n in found.numbers if (n.evaluator, n.name) == key), None)
        is_compared = each.change is not ScoreChange.NOT_COMPARED
        return _number(each, number) if number is not None and is_compared else None
    labels: RatedItems = Counter(
        {(c.before, c.after): c.times for c in found.labels if (c.evaluator, c.name) == key}
    )
    return _label(each, labels, tolerance) if labels else None


def _number(each: ScoreComparison, number: NumberChange) -> ScoreDrift:
    return ScoreDrift(
        evaluator=each.evaluator,
        name=each.name,
        title=each.title,
        pairs=number.pairs,
        flips=number.higher + number.lower,
        better=each.improved,
        worse=each.worsened,
        before=each.before,
        now=each.after,
        detectable=None if each.difference is None else each.difference.detectable,
        labels={},
        p_shift=mcnemar(number.lower, number.higher),
        p_flips=None,
    )


def _label(each: ScoreComparison, labels: RatedItems, tolerance: Tolerance) -> ScoreDrift:
    """Of a category without good labels, which can't be compared by them, only flips count."""
    pairs = sum(labels.values())
    flips = sum(times for (before, after), times in labels.items() if before != after)
    return ScoreDrift(
        evaluator=each.evaluator,
        name=each.name,
        title=each.title,
        pairs=pairs,
        flips=flips,
        better=each.improved,
        worse=each.worsened,
        before=each.before,
        now=each.after,
        detectable=None if each.difference is None else each.difference.detectable,
        labels=labels,
        p_shift=None if each.difference is None else each.difference.p_value,
        p_flips=more_often_than(tolerance.tolerated_flips, times=flips, trials=pairs),
    )


def _reason(decided: DecidedScore) -> str:
    drift = decided.drift
    sides = f" ({drift.better} better, {drift.worse} worse)" if drift.better + drift.worse else ""
    return (
        f"{drift.title}: {drift.flips} of {drift.pairs} values differ{sides}, "
        f"adjusted p = {decided.p_value:.2g}"
    )


def _no_alarm(decided: Sequence[DecidedScore], *, decidable: bool) -> str:
    if not decided:
        return "No score could be compared"
    if not decidable:
        most = max(each.drift.pairs for each in decided)
        return f"Not decidable: {most} values are too few to tell a difference from chance"
    smallest = min(each.p_value for each in decided)
    scores = f"{len(decided)} score{'' if len(decided) == 1 else 's'}"
    return f"Nothing differs by more than chance: smallest adjusted p = {smallest:.2g}, {scores}"
