"""Decides on a run: passed, failed, or not decidable. Every decision is made on a 95 % interval.

Too few conversations, too many missing verdicts or a run that is not complete never pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from evalqueue.evaluators.batch.distributions import (
    BatchStatistics,
    EvaluatorStatistics,
    Key,
    ScoreStatistics,
)
from evalqueue.evaluators.comparison import rates
from evalqueue.evaluators.comparison.compare import Comparison, ScoreChange, ScoreComparison
from evalqueue.evaluators.comparison.rates import CorrectedRate
from evalqueue.evaluators.comparison.requirements import (
    BadRequirement,
    Bound,
    NoWorse,
    Operator,
    Requirement,
    ScoreTarget,
    key,
)
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreDeclaration, ScoreKind

MIN_COVERAGE = 0.9
DEFAULT_MARGIN = 0.05  # of a score's range


class Decision(StrEnum):
    """What a gate comes to."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_DECIDABLE = "not_decidable"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedRun:
    """What a gate looks at of a run."""

    status: str
    statistics: BatchStatistics | None
    """None: the run is of another kind."""
    corrected: Mapping[Key, CorrectedRate]
    """Rates that are decided on instead of the judge's own, which are called uncalibrated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCheck:
    """One requirement, and what became of it."""

    requirement: str
    decision: Decision
    explanation: str
    value: float | None = None
    """The share or mean; of `no worse`, the difference from the baseline."""
    low: float | None = None
    high: float | None = None
    size: int = 0
    """Values, or pairs of values, that it was decided on."""
    corrected_by: int | None = None
    """Random labels, by which the rate is corrected. None: it is the judge's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All requirements of a gate."""

    checks: Sequence[GateCheck]

    @property
    def decision(self) -> Decision:
        """Failed if one has failed; passed only if all have passed."""
        decisions = {each.decision for each in self.checks}
        if Decision.FAILED in decisions:
            return Decision.FAILED
        return Decision.PASSED if decisions == {Decision.PASSED} else Decision.NOT_DECIDABLE


def decide(
    requirements: Sequence[Requirement],
    run: GatedRun,
    comparison: Comparison | None,
    *,
    min_coverage: float = MIN_COVERAGE,
) -> Verdict:
    """Look at every requirement.

    Args:
        comparison: with the baseline; None: there is none.
        min_coverage: the part of the values that has to be there, from 0 to 1.

    Raises:
        BadRequirement: the run has no such evaluator, score or label, or there is no baseline.
    """
    if not requirements:
        raise BadRequirement("A gate has at least one requirement")
    return Verdict(checks=[_check(each, run, comparison, min_coverage) for each in requirements])


def _check(
    requirement: Requirement,
    run: GatedRun,
    comparison: Comparison | None,
    min_coverage: float,
) -> GateCheck:
    evaluator, score, label = _resolved(requirement.target, run)
    found = [each for each in evaluator.scores if each.name == score.name]
    if obstacle := _obstacle(run, found, min_coverage):
        return _undecidable(requirement, obstacle)
    if isinstance(requirement, Bound):
        return _bound(requirement, run, evaluator, found[0], score, label)
    if comparison is None:
        raise BadRequirement(f"{requirement.text!r} needs a baseline")
    if label is not None:
        raise BadRequirement(f"{requirement.text!r}: leave the label out, the score is compared")
    compared = comparison.score(evaluator.declaration.name, score.name)
    return _no_worse(requirement, compared, score)


def _obstacle(run: GatedRun, found: Sequence[ScoreStatistics], min_coverage: float) -> str | None:
    """Why nothing can be decided on a score."""
    if run.status not in {"completed", "completed_with_errors"}:
        return f"the run is {run.status}"
    if len(found) > 1:
        return f"it has scores of {len(found)} versions of the evaluator"
    (score,) = found
    if not score.measured:
        return "nothing was measured"
    coverage = score.measured / (score.measured + score.failed)
    if coverage < min_coverage:
        return (
            f"{score.failed} of {score.measured + score.failed} values are missing: "
            f"coverage {coverage:.3f} is below {min_coverage:g}"
        )
    return None


# What a target names.


def _resolved(
    target: ScoreTarget, run: GatedRun
) -> tuple[EvaluatorStatistics, ScoreDeclaration, str | None]:
    evaluators = [] if run.statistics is None else list(run.statistics.evaluators)
    evaluator = next((e for e in evaluators if e.declaration.name == key(target.evaluator)), None)
    if evaluator is None:
        names = ", ".join(each.declaration.name for each in evaluators) or "none"
        raise BadRequirement(f"The run has no evaluator {target.evaluator!r}; it has: {names}")
    declared = evaluator.declaration
    score, parts = declared.headline_score, list(target.parts)
    if parts and (named := declared.score(key(parts[0]))) is not None:
        score, parts = named, parts[1:]
    if not parts:
        return evaluator, score, None
    label = _label_named(".".join(parts), evaluator, score)
    if label is None:
        raise BadRequirement(_unknown(target, declared, score))
    return evaluator, score, label


def _label_named(text: str, evaluator: EvaluatorStatistics, score: ScoreDeclaration) -> str | None:
    given = [
        share.label
        for each in evaluator.scores if each.name == score.name
        for share in each.shares
    ]  # fmt: skip
    return next((each for each in [*score.labels, *given] if key(each) == key(text)), None)


def _unknown(target: ScoreTarget, declared: EvaluatorDeclaration, score: ScoreDeclaration) -> str:
    scores = ", ".join(each.name for each in declared.scores)
    labels = ", ".join(key(each) for each in score.labels)
    asked = ".".join((target.evaluator, *target.parts))
    return f"There is no {asked!r}. Scores: {scores}." + (
        f" Labels of {score.name}: {labels}." if labels else ""
    )


# Decisions.


def _bound(
    requirement: Bound,
    run: GatedRun,
    evaluator: EvaluatorStatistics,
    found: ScoreStatistics,
    declared: ScoreDeclaration,
    label: str | None,
) -> GateCheck:
    rate = rates.estimate(found, declared, label)
    if isinstance(rate, str):
        return _undecidable(requirement, rate)
    named = (evaluator.declaration.name, found.version or "", found.name)
    if (corrected := run.corrected.get(named)) is not None:
        rate = rates.as_people(rate, corrected, found, declared, label)
    value, low, high = rate.value, rate.low, rate.high
    if low is None or high is None:
        return _undecidable(requirement, "one conversation gives no interval")
    left_out = found.measured - rate.size
    shown = f"{value:.4g}, 95 % interval {low:.4g} to {high:.4g}, n = {rate.size}"
    if left_out:
        shown += f", without {left_out} that are neutral"
    if rate.corrected_by is not None:
        shown += f", corrected by {rate.corrected_by} random labels"
    else:
        shown += ", uncalibrated"
    return GateCheck(
        requirement=requirement.text,
        decision=_side(requirement, low, high),
        explanation=shown,
        value=value,
        low=low,
        high=high,
        size=rate.size,
        corrected_by=rate.corrected_by,
    )


def _side(requirement: Bound, low: float, high: float) -> Decision:
    bound = requirement.bound
    match requirement.operator:
        case Operator.AT_LEAST:
            passed, failed = low >= bound, high < bound
        case Operator.ABOVE:
            passed, failed = low > bound, high <= bound
        case Operator.AT_MOST:
            passed, failed = high <= bound, low > bound
        case Operator.BELOW:
            passed, failed = high < bound, low >= bound
    if passed:
        return Decision.PASSED
    return Decision.FAILED if failed else Decision.NOT_DECIDABLE


def _no_worse(
    requirement: NoWorse, compared: ScoreComparison | None, declared: ScoreDeclaration
) -> GateCheck:
    if compared is None or compared.change is ScoreChange.NOT_COMPARED:
        reason = "it is not a score of whole conversations"
        return _undecidable(requirement, reason if compared is None else str(compared.reason))
    if declared.kind is not ScoreKind.CATEGORY and declared.higher_is_better is None:
        return _undecidable(requirement, "neither direction of it is declared to be the better one")
    difference = compared.difference
    if difference is None:
        return _undecidable(requirement, "one conversation gives no interval")
    margin = _margin(requirement, declared)
    is_higher_better = declared.kind is ScoreKind.CATEGORY or declared.higher_is_better
    worst = difference.low if is_higher_better else -difference.high
    if worst > -margin:
        decision = Decision.PASSED
    else:
        is_worse = compared.change is ScoreChange.WORSE
        decision = Decision.FAILED if is_worse else Decision.NOT_DECIDABLE
    return GateCheck(
        requirement=requirement.text,
        decision=decision,
        explanation=(
            f"{compared.before:.4g} before, {compared.after:.4g} now: "
            f"{difference.difference:+.4g}, "
            f"95 % interval {difference.low:+.4g} to {difference.high:+.4g}, "
            f"n = {difference.pairs}, margin {margin:g}"
        ),
        value=difference.difference,
        low=difference.low,
        high=difference.high,
        size=difference.pairs,
    )


def _margin(requirement: NoWorse, declared: ScoreDeclaration) -> float:
    if requirement.margin is not None:
        return requirement.margin
    if declared.kind is not ScoreKind.NUMBER:
        return DEFAULT_MARGIN
    if declared.minimum is None or declared.maximum is None:
        raise BadRequirement(f"{requirement.text!r}: say by how much, as in '… no worse by 0.5'")
    return DEFAULT_MARGIN * (declared.maximum - declared.minimum)


def _undecidable(requirement: Requirement, reason: str) -> GateCheck:
    return GateCheck(
        requirement=requirement.text, decision=Decision.NOT_DECIDABLE, explanation=reason
    )
