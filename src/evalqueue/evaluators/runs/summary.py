"""What a run found: arithmetic over the outcomes of its threads, and nothing else.

The figures are computed from what is stored, so that they are the same after a crash, a resume or
a second look. What was not measured is left out: a key that is missing means nobody looked, or
nobody could; a failure never becomes a verdict, and its count stands beside every rate.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from evalqueue.evaluators.judging.evaluator import Coverage

_SHOWN_REASONS = 3


class RunEnd(StrEnum):
    """How a run that was not cancelled can end."""

    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadOutcome:
    """What counts of one thread's row."""

    thread_id: str
    intent_accuracy: float | None = None
    worst_correctness: str | None = None
    efficiency_verdict: str | None = None
    success_status: bool | None = None
    failures: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many failures of each reason."""
    coverage: Mapping[str, Coverage] = field(default_factory=dict[str, Coverage])
    evaluator_versions: Mapping[str, str] = field(default_factory=dict[str, str])
    error: str | None = None
    """Why nothing at all was measured."""

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "ThreadOutcome":
        """From a stored row: its columns, and `result`, the thread's JSON (at least the parts
        `failures`, `coverage` and `evaluator_versions` of it)."""
        result: Mapping[str, Any] = row.get("result") or {}
        return cls(
            thread_id=row["thread_id"],
            intent_accuracy=row.get("intent_accuracy"),
            worst_correctness=row.get("worst_correctness"),
            efficiency_verdict=row.get("efficiency_verdict"),
            success_status=row.get("success_status"),
            failures=Counter(failure["reason"] for failure in result.get("failures", ())),
            coverage={name: Coverage(**each) for name, each in result.get("coverage", {}).items()},
            evaluator_versions=result.get("evaluator_versions", {}),
            error=row.get("error"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How a run ends, and what is said about it."""

    status: RunEnd
    error_message: str | None = None


def summarise(outcomes: Iterable[ThreadOutcome]) -> dict[str, Any]:
    """The run's summary JSON. A thread counts in every figure that it has a value for."""
    outcomes = list(outcomes)
    errors = sum(outcome.error is not None for outcome in outcomes)
    accuracies = [each.intent_accuracy for each in outcomes if each.intent_accuracy is not None]
    summary: dict[str, Any] = {
        "total_threads": len(outcomes),
        "completed": len(outcomes) - errors,
        "errors": errors,
    }
    if accuracies:
        summary["avg_intent_accuracy"] = round(sum(accuracies) / len(accuracies), 4)
    if verdicts := _counted(outcome.worst_correctness for outcome in outcomes):
        summary["correctness_verdicts"] = verdicts
    if verdicts := _counted(outcome.efficiency_verdict for outcome in outcomes):
        summary["efficiency_verdicts"] = verdicts
    return summary | {
        "coverage": {
            name: each.as_json() | {"rate": None if each.rate is None else round(each.rate, 4)}
            for name, each in _coverage(outcomes).items()
        },
        "failures": dict(_failures(outcomes).most_common()),
        "evaluator_versions": _versions(outcomes),
    }


def settle(outcomes: Iterable[ThreadOutcome]) -> Settlement:
    """How a run with these outcomes ends."""
    outcomes = list(outcomes)
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if not outcomes:
        return Settlement(
            status=RunEnd.FAILED, error_message="There was no thread to evaluate: none was chosen."
        )
    if len(failed) == len(outcomes):
        message = f"All {len(failed)} thread evaluations failed: {reasons(failed)}"
        return Settlement(status=RunEnd.FAILED, error_message=message)
    if failed:
        message = f"{len(failed)} of {len(outcomes)} thread evaluations failed: {reasons(failed)}"
        return Settlement(status=RunEnd.COMPLETED_WITH_ERRORS, error_message=message)
    if missing := _failures(outcomes):
        gaps = [
            f"{name} judged {each.judged} of {each.attempted}"
            for name, each in _coverage(outcomes).items()
            if each.judged < each.attempted
        ]
        message = f"Some verdicts are missing: {'; '.join(gaps)} ({_listed(missing)})"
        return Settlement(status=RunEnd.COMPLETED_WITH_ERRORS, error_message=message)
    return Settlement(status=RunEnd.COMPLETED)


def _counted(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(value for value in values if value is not None).items()))


def _coverage(outcomes: Sequence[ThreadOutcome]) -> dict[str, Coverage]:
    total: dict[str, Coverage] = {}
    for outcome in outcomes:
        for name, each in outcome.coverage.items():
            total[name] = total.get(name, Coverage()) + each
    return dict(sorted(total.items()))


def _failures(outcomes: Sequence[ThreadOutcome]) -> Counter[str]:
    total: Counter[str] = Counter()
    for outcome in outcomes:
        total.update(outcome.failures)
    return total


def _versions(outcomes: Sequence[ThreadOutcome]) -> dict[str, list[str]]:
    """The versions of each evaluator; more than one means that the figures mix two things."""
    versions: dict[str, set[str]] = {}
    for outcome in outcomes:
        for name, version in outcome.evaluator_versions.items():
            versions.setdefault(name, set()).add(version)
    return {name: sorted(found) for name, found in sorted(versions.items())}


def reasons(errors: Sequence[str]) -> str:
    """The most frequent reasons, first lines only."""
    firsts = Counter((error.splitlines() or [""])[0] for error in errors)
    shown = [
        reason if times == 1 else f"{reason} ({times} times)"
        for reason, times in firsts.most_common(_SHOWN_REASONS)
    ]
    more = len(firsts) - len(shown)
    return "; ".join([*shown, *([f"and {more} more reasons"] if more else [])])


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason}: {times}" for reason, times in reasons.most_common())
