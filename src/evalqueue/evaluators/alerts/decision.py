"""Decides whether an alert fires. What can't be decided changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evalqueue.evaluators.alerts.alert import Alert
from evalqueue.evaluators.batch.distributions import BatchStatistics
from evalqueue.evaluators.comparison.gate import Decision, GateCheck, GatedRun, decide
from evalqueue.evaluators.comparison.requirements import BadRequirement, parse
from evalqueue.evaluators.judging.evaluator import Coverage
from evalqueue.jobs import Job, JobStatus

EXPLANATION_MAX = 2_000  # characters
_SHOWN_SCORES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFinding:
    """What an alert comes to."""

    fires: bool | None
    """None: it can't be decided."""
    explanation: str
    """Numbers and names, without texts of conversations."""
    figures: Mapping[str, Any] = field(default_factory=dict[str, Any])


def of_rate(alert: Alert, run: GatedRun) -> AlertFinding:
    """As a gate decides: on a 95 % interval; of the corrected rate, where there is one."""
    try:
        verdict = decide([parse(each) for each in alert.requirements], run, None)
    except BadRequirement as error:  # another app, or other evaluators
        return AlertFinding(fires=None, explanation=str(error))
    fires = {Decision.FAILED: True, Decision.PASSED: False}.get(verdict.decision)
    shown = [c for c in verdict.checks if not fires or c.decision is Decision.FAILED]
    return AlertFinding(
        fires=fires,
        explanation="; ".join(f"{each.requirement}: {each.explanation}" for each in shown),
        figures={"requirements": [_check(each) for each in verdict.checks]},
    )


def of_coverage(alert: Alert, statistics: BatchStatistics | None) -> AlertFinding:
    """By the counts of the run."""
    coverage: Mapping[str, Coverage] = {} if statistics is None else statistics.coverage
    rates = {
        name: each.rate
        for name, each in coverage.items()
        if each.rate is not None and alert.evaluator in (None, name)
    }
    if not rates or alert.min_coverage is None:
        return AlertFinding(fires=None, explanation="No verdict was attempted")
    lowest = min(rates, key=rates.__getitem__)
    return AlertFinding(
        fires=rates[lowest] < alert.min_coverage,
        explanation=f"Coverage of {lowest}: {rates[lowest]:.3f}, bound {alert.min_coverage:g}",
        figures={"coverage": rates},
    )


def of_drift(result: Mapping[str, Any]) -> AlertFinding:
    """As the drift check has decided. One with too few values ends no alarm."""
    alarm, decidable = result.get("alarm"), result.get("decidable")
    return AlertFinding(
        fires=alarm if isinstance(alarm, bool) and decidable is True else None,
        explanation="; ".join(map(str, result.get("reasons", ()))),
        figures={
            "scores": list(result.get("scores", ()))[:_SHOWN_SCORES],
            "model_changed": result.get("model_changed"),
        },
    )


def of_failure(job: Job, fired_by: str | None) -> AlertFinding:
    """Without the error, which may quote a conversation.

    Args:
        fired_by: the type of the job that failed when the alert last began to fire. Jobs of other
            types don't end it.
    """
    failed = job.status is JobStatus.FAILED
    is_other = not failed and fired_by not in (None, job.job_type)
    return AlertFinding(
        fires=None if is_other else failed, explanation=f"A job {job.job_type} {job.status}"
    )


def _check(check: GateCheck) -> dict[str, Any]:
    return {
        "requirement": check.requirement,
        "decision": str(check.decision),
        "value": check.value,
        "low": check.low,
        "high": check.high,
        "size": check.size,
        "corrected_by": check.corrected_by,
    }
