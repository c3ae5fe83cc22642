"""Which way the values of conversations have changed, and how severe each change is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalqueue.evaluators.comparison.store import (
    ChangedLabel,
    ChangedNumber,
    Direction,
    LabelChange,
    NumberChange,
)
from evalqueue.evaluators.judging.scores import ScoreDeclaration, ScoreKind

YES = "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipTotals:
    """How many values have changed, of all scores that were compared."""

    worse: int = 0
    better: int = 0
    other: int = 0
    """Still good, still not good, or not judged in one of the runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The changes of all scores that were compared."""

    labels: Sequence[ChangedLabel]
    numbers: Sequence[ChangedNumber]
    totals: FlipTotals


def changes(
    scores: Mapping[tuple[str, str], ScoreDeclaration],
    labels: Sequence[LabelChange],
    numbers: Sequence[NumberChange],
) -> Changes:
    """The changes of these scores, by evaluator and name."""
    totals: Counter[str] = Counter()
    changed_labels: list[ChangedLabel] = []
    changed_numbers: list[ChangedNumber] = []
    for each in labels:
        declared = scores.get((each.evaluator, each.name))
        if declared is not None and each.before != each.after:
            found = _label(declared, each)
            totals[found.direction] += each.times
            changed_labels.append(found)
    for each in numbers:
        declared = scores.get((each.evaluator, each.name))
        if declared is not None and each.largest:
            moved = _number(declared, each)
            totals[moved.higher] += each.higher
            totals[moved.lower] += each.lower
            changed_numbers.append(moved)
    return Changes(labels=changed_labels, numbers=changed_numbers, totals=FlipTotals(**totals))


def good_values(declared: ScoreDeclaration) -> tuple[str, ...]:
    """The labels that are good; of a boolean, `true`, whether that is good or bad."""
    return declared.good if declared.kind is ScoreKind.CATEGORY else (YES,)


def _label(declared: ScoreDeclaration, change: LabelChange) -> ChangedLabel:
    return ChangedLabel(
        evaluator=change.evaluator,
        name=change.name,
        before=change.before,
        after=change.after,
        direction=_direction(declared, change.before, change.after),
        severity=abs(_badness(declared, change.after) - _badness(declared, change.before)),
    )


def _direction(declared: ScoreDeclaration, before: str, after: str) -> Direction:
    """As the comparison counts it: only good or not good matters."""
    is_category = declared.kind is ScoreKind.CATEGORY
    if not is_category and declared.higher_is_better is None:
        return "other"
    good = good_values(declared)
    was_good, is_good = before in good, after in good
    if before in declared.neutral or after in declared.neutral or was_good == is_good:
        return "other"
    return "better" if is_good == (is_category or declared.higher_is_better is True) else "worse"


def _badness(declared: ScoreDeclaration, label: str) -> float:
    """0: good or neutral; 1: the worst."""
    if label in declared.bad:
        return 1 - declared.bad.index(label) / len(declared.bad)
    if label in good_values(declared) or label in declared.neutral:
        return 0.0
    return 1 / (2 * max(1, len(declared.bad)))


def _number(declared: ScoreDeclaration, change: NumberChange) -> ChangedNumber:
    directions: dict[bool | None, tuple[Direction, Direction]] = {
        True: ("better", "worse"),
        False: ("worse", "better"),
        None: ("other", "other"),
    }
    higher, lower = directions[declared.higher_is_better]
    low, high = declared.minimum, declared.maximum
    scale = 0.0 if low is None or high is None else high - low
    return ChangedNumber(
        evaluator=change.evaluator,
        name=change.name,
        higher=higher,
        lower=lower,
        scale=scale if scale > 0 else change.largest,
    )
