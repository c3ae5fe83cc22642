"""What a run found: arithmetic over the outcomes of its threads, and nothing else.

The figures are computed from what is stored, so that they are the same after a crash, a resume or
a second look. What was not measured is left out: a missing key means "not measured". A failure
never becomes a score, and its count stands beside every rate.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from evalqueue.evaluators.judging.evaluator import Coverage
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreKind, ScoreValue
from evalqueue.evaluators.judging.voting.evaluator import AGREEMENT, FLIP_RATE
from evalqueue.evaluators.providers.errors import CallOutcome

_SHOWN_REASONS = 3
_NO_KEY = (
    "Not judged: no key set. The simulated judge has labels for the bundled conversations only. "
    "Set the key of an LLM vendor where the worker runs, and submit it anew."
)


class RunEnd(StrEnum):
    """How a run that was not cancelled can end."""

    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeScore:
    """A score of a whole thread that has a value."""

    evaluator: str
    version: str
    name: str
    value: ScoreValue


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadOutcome:
    """What counts of one thread's row."""

    thread_id: str
    scores: tuple[OutcomeScore, ...] = ()
    success_status: bool | None = None
    failures: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many failures of each reason."""
    coverage: Mapping[str, Coverage] = field(default_factory=dict[str, Coverage])
    evaluator_versions: Mapping[str, str] = field(default_factory=dict[str, str])
    error: str | None = None
    """Why nothing at all was measured."""

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "ThreadOutcome":
        """From a stored row: its columns; its `scores`, [[evaluator, version, name, value], …]; and
        `result`, the thread's JSON (at least the parts `failures`, `coverage` and
        `evaluator_versions` of it)."""
        result: Mapping[str, Any] = row.get("result") or {}
        return cls(
            thread_id=row["thread_id"],
            scores=tuple(
                OutcomeScore(evaluator=evaluator, version=version, name=name, value=value)
                for evaluator, version, name, value in row.get("scores") or ()
            ),
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


def summarise(
    outcomes: Iterable[ThreadOutcome], evaluators: Iterable[EvaluatorDeclaration] = ()
) -> dict[str, object]:
    """The run's summary JSON. A thread counts in every figure that it has a value for."""
    outcomes = list(outcomes)
    errors = sum(outcome.error is not None for outcome in outcomes)
    summary: dict[str, object] = {
        "total_threads": len(outcomes),
        "completed": len(outcomes) - errors,
        "errors": errors,
    }
    headlines = [each for one in evaluators for each in _headlines(one, outcomes)]
    for declaration, found in headlines:
        # Two versions measure two things: there is no figure of both.
        only = sum(other is declaration for other, _ in headlines) == 1
        if only and declaration.summary_key is not None:
            summary[declaration.summary_key] = found.get("mean", found.get("counts"))
    if headlines:
        summary["scores"] = [found for _, found in headlines]
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
        if {each for outcome in outcomes for each in outcome.failures} == {CallOutcome.NO_KEY}:
            return Settlement(status=RunEnd.FAILED, error_message=_NO_KEY)
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


def _headlines(
    evaluator: EvaluatorDeclaration, outcomes: Sequence[ThreadOutcome]
) -> Iterator[tuple[EvaluatorDeclaration, dict[str, object]]]:
    """What an evaluator's headline comes to, for each version of it."""
    declared = evaluator.headline_score
    values: dict[str, list[ScoreValue]] = {}
    for outcome in outcomes:
        for score in outcome.scores:
            if (score.evaluator, score.name) == (evaluator.name, declared.name):
                values.setdefault(score.version, []).append(score.value)
    for version, found in sorted(values.items()):
        about: dict[str, object] = {
            "evaluator": evaluator.name,
            "version": version,
            "name": declared.name,
            "title": declared.title,
            "measured": len(found),
            "not_measured": _not_measured(evaluator, version, outcomes),
            **_votes(evaluator, version, outcomes),
        }
        if declared.kind is ScoreKind.NUMBER:
            numbers = [float(value) for value in found]
            yield evaluator, about | {"mean": round(sum(numbers) / len(numbers), 4)}
        else:
            yield evaluator, about | {"counts": _counted(map(_label, found))}


def _votes(
    evaluator: EvaluatorDeclaration, version: str, outcomes: Sequence[ThreadOutcome]
) -> dict[str, float]:
    """How far the votes on an evaluator's questions agree: means over threads, where there are
    votes."""
    means: dict[str, float] = {}
    for name in (AGREEMENT, FLIP_RATE):
        values = [
            float(score.value)
            for outcome in outcomes
            for score in outcome.scores
            if (score.evaluator, score.version, score.name) == (evaluator.name, version, name)
        ]
        if values:
            means[name] = round(sum(values) / len(values), 4)
    return means


def _not_measured(
    evaluator: EvaluatorDeclaration, version: str, outcomes: Sequence[ThreadOutcome]
) -> int:
    """Threads whose headline is missing because an answer could not be judged."""
    name = evaluator.name
    missing = 0
    for outcome in outcomes:
        coverage = outcome.coverage.get(name, Coverage())
        has_value = any(
            (score.evaluator, score.name) == (name, evaluator.headline) for score in outcome.scores
        )
        is_meant = outcome.evaluator_versions.get(name) == version
        missing += is_meant and coverage.judged < coverage.attempted and not has_value
    return missing


def _label(value: ScoreValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


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
