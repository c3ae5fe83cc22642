"""The rate of a score, with its 95 % interval: by the judge, or as people would have found it."""

from collections.abc import Sequence
from dataclasses import dataclass

from evalqueue.evaluators.batch.distributions import LabelShare, ScoreStatistics
from evalqueue.evaluators.judging.scores import ScoreDeclaration, ScoreKind
from evalqueue.evaluators.statistics.intervals import wilson
from evalqueue.evaluators.statistics.prediction_powered import CorrectedShare


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedRate:
    """The rate of a score as people would have found it."""

    good: Sequence[str]
    """The labels whose share it is, among those that are not neutral."""
    share: CorrectedShare
    labels: int
    """Drawn at random, by which it is corrected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateEstimate:
    """A mean or a share, with its interval."""

    value: float
    low: float | None
    high: float | None
    size: int
    """Values it is made of."""
    corrected_by: int | None = None
    """Random labels; None: it is the judge's own."""


def estimate(
    found: ScoreStatistics, declared: ScoreDeclaration, label: str | None
) -> RateEstimate | str:
    """The share of the wanted labels, or the mean; or why there is none.

    The share of the good labels is of the conversations whose label is not neutral, as in a
    comparison. The share of a label that is named is of all values, as the page shows it.
    """
    if (mean := found.mean) is not None:
        return RateEstimate(value=mean.mean, low=mean.low, high=mean.high, size=found.measured)
    wanted = _wanted(declared, label)
    shares = [each for each in found.shares if each.label in wanted]
    if not wanted:
        return "none of its labels is declared to be good: name one"
    if found.per_turn:
        return _of_turns(shares, found)
    neutral = declared.neutral if label is None else ()
    judged = found.measured - sum(e.count for e in found.shares if e.label in neutral)
    if not judged:
        return "every value is neutral"
    share = sum(each.count for each in shares) / judged
    low, high = wilson(share, judged)
    return RateEstimate(value=share, low=low, high=high, size=judged)


def _wanted(declared: ScoreDeclaration, label: str | None) -> Sequence[str]:
    """The labels whose share it is."""
    if label is not None:
        return (label,)
    return ("true",) if declared.kind is ScoreKind.BOOLEAN else declared.good


def _of_turns(shares: Sequence[LabelShare], found: ScoreStatistics) -> RateEstimate | str:
    match shares:
        case [only]:
            return RateEstimate(
                value=only.share or 0.0, low=only.low, high=only.high, size=found.measured
            )
        case []:
            low, high = wilson(0.0, found.threads)
            return RateEstimate(value=0.0, low=low, high=high, size=found.measured)
        case _:
            return "several labels of turns are good: name one"


def as_people(
    judged: RateEstimate,
    corrected: CorrectedRate,
    found: ScoreStatistics,
    declared: ScoreDeclaration,
    label: str | None,
) -> RateEstimate:
    """The same share as people would have found it; the judge's own, if it is of other labels."""
    neutral = sum(each.count for each in found.shares if each.label in declared.neutral)
    wanted = _wanted(declared, label)
    share = corrected.share
    value, low, high = share.share, share.low, share.high
    if declared.kind is ScoreKind.BOOLEAN and set(corrected.good) != set(wanted):
        value, low, high = 1 - value, 1 - high, 1 - low
    elif set(corrected.good) != set(wanted) or (label is not None and neutral):
        return judged
    return RateEstimate(
        value=value, low=low, high=high, size=judged.size, corrected_by=corrected.labels
    )
