"""Threads through evaluators: which threads, which evaluators, and what becomes of the findings.

Nothing here knows a queue or a database. A thread's evaluators run side by side, each its own
boundary: what one of them could not find out takes nothing from the others.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, cast

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.judging import correctness, efficiency, intent
from evalqueue.evaluators.judging.evaluator import Coverage, Evaluation, Evaluator
from evalqueue.evaluators.judging.judge import DEFAULT_PARAMETERS, Judge, Parameters, concurrently
from evalqueue.evaluators.verdicts import Correctness

_RESULT_KEYS = {
    intent.NAME: "intent_evaluations",
    correctness.NAME: "correctness_evaluations",
    efficiency.NAME: "efficiency_evaluation",
}
_FAILING = {Correctness.HARD_FAIL, Correctness.CRITICAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """What is asked of every thread of a run."""

    app: App
    evaluate_intent: bool = True
    evaluate_correctness: bool = True
    evaluate_efficiency: bool = True
    intent_system_prompt: str = ""
    """The job's own taxonomy of intents; blank: the profile's."""
    parameters: Parameters = DEFAULT_PARAMETERS

    def evaluators(self) -> tuple[Evaluator, ...]:
        """The evaluators that are on."""
        return tuple(EVALUATORS[name](self) for name in EVALUATORS if self.has(name))

    def has(self, name: str) -> bool:
        """Whether an evaluator is on; one without a switch always is."""
        switches = {
            intent.NAME: self.evaluate_intent,
            correctness.NAME: self.evaluate_correctness,
            efficiency.NAME: self.evaluate_efficiency,
        }
        return switches.get(name, True)


EVALUATORS: Mapping[str, Callable[[EvaluationPlan], Evaluator]] = {
    intent.NAME: lambda plan: intent.IntentEvaluator(
        plan.app, taxonomy=plan.intent_system_prompt, parameters=plan.parameters
    ),
    correctness.NAME: lambda plan: correctness.CorrectnessEvaluator(
        plan.app, parameters=plan.parameters
    ),
    efficiency.NAME: lambda plan: efficiency.EfficiencyEvaluator(
        plan.app, parameters=plan.parameters
    ),
}
"""The evaluators there are, by name."""


def evaluators_for(app: App) -> tuple[str, ...]:
    """The evaluators that can have a verdict on an app; the others' would all be NOT APPLICABLE."""
    says_nothing = {
        correctness.NAME: app.meal_summary is None,
        efficiency.NAME: not any(kind.has_efficiency for kind in app.thread_types),
    }
    return tuple(name for name in EVALUATORS if not says_nothing.get(name, False))


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadResult:
    """What was found in one thread: the columns of its row, and the JSON beside them."""

    thread_id: str
    intent_accuracy: float | None
    worst_correctness: str | None
    efficiency_verdict: str | None
    success_status: bool | None
    result: Mapping[str, Any]
    error: str | None
    """Why nothing at all was measured, although something was attempted."""

    @property
    def failed(self) -> bool:
        return self.error is not None

    def row(self) -> dict[str, Any]:
        """The row as `ThreadOutcome.of_row` reads it back."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The threads of a run, in the order in which they are evaluated."""

    thread_ids: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    """Asked for by name, and not in the data."""


def choose(
    available: Iterable[str],
    *,
    thread_ids: Sequence[str] | None = None,
    sample_size: int | None = None,
    seed: int = 0,
) -> Chosen:
    """The threads to evaluate: those named, else a sample, else all; the same every time.

    A sample of n holds every smaller sample with the same seed, and does not depend on the order
    of the data. Threads named are taken in the order they are named, the rest in the data's.
    """
    known = list(dict.fromkeys(available))
    if thread_ids is not None:
        wanted = list(dict.fromkeys(thread_ids))
        among = set(known)
        return Chosen(
            thread_ids=tuple(each for each in wanted if each in among),
            unknown=tuple(each for each in wanted if each not in among),
        )
    if sample_size is None:
        return Chosen(thread_ids=tuple(known))
    drawn = set(sorted(known, key=lambda thread_id: _lot(seed, thread_id))[: max(0, sample_size)])
    return Chosen(thread_ids=tuple(each for each in known if each in drawn))


async def evaluate_thread(
    thread: Thread, evaluators: Sequence[Evaluator], judge: Judge
) -> ThreadResult:
    """Everything that the evaluators find in one thread.

    Raises:
        ProviderError: only for what no other call could escape either.
    """
    evaluations = await concurrently(each.evaluate(thread, judge) for each in evaluators)
    found = {evaluation.evaluator: evaluation for evaluation in evaluations}
    success = _success(found)
    return ThreadResult(
        thread_id=thread.thread_id,
        intent_accuracy=_number(found.get(intent.NAME)),
        worst_correctness=_verdict(found.get(correctness.NAME)),
        efficiency_verdict=_verdict(found.get(efficiency.NAME)),
        success_status=success,
        result=_result(thread, found, success),
        error=_error(evaluations),
    )


def _lot(seed: int, thread_id: str) -> bytes:
    return sha256(f"{seed}:{thread_id}".encode(errors="replace")).digest()


def _result(
    thread: Thread, found: Mapping[str, Evaluation], success: bool | None
) -> dict[str, Any]:
    """The thread's JSON: findings that refer to turns by number and never repeat them."""
    keys = _RESULT_KEYS | {name: f"{name}_evaluation" for name in found if name not in _RESULT_KEYS}
    return {
        "thread": {
            "thread_id": thread.thread_id,
            "user_id": thread.user_id,
            "message_count": len(thread.turns),
            "started_at": thread.started_at.isoformat(),
            "duration_seconds": thread.duration.total_seconds(),
            "has_errors": thread.has_errors,
        },
        **{key: found[name].details if name in found else None for name, key in keys.items()},
        "success_status": success,
        "failed_evaluators": {
            name: _told(evaluation) for name, evaluation in found.items() if _all_failed(evaluation)
        },
        "skipped_evaluators": [name for name in EVALUATORS if name not in found],
        "failures": [
            failure.as_json() for evaluation in found.values() for failure in evaluation.failures
        ],
        "coverage": {name: coverage_of(each).as_json() for name, each in found.items()},
        "evaluator_versions": {name: each.version for name, each in found.items()},
    }


def coverage_of(evaluation: Evaluation) -> Coverage:
    """How many answers an evaluator asked for, and how many it got."""
    details: Any = evaluation.details
    match details:
        case None:
            judged = 0
        case list():
            rows = cast("list[Mapping[str, Any]]", details)  # JSON: one object per message
            judged = sum(row.get("judged", True) for row in rows)
        case _:
            judged = 1
    return Coverage(judged=judged, attempted=judged + len(evaluation.failures))


def _all_failed(evaluation: Evaluation) -> bool:
    coverage = coverage_of(evaluation)
    return coverage.attempted > 0 and coverage.judged == 0


def _error(evaluations: Iterable[Evaluation]) -> str | None:
    """Why there is nothing: every answer that was asked for failed."""
    attempted = [each for each in evaluations if coverage_of(each).attempted]
    if not attempted or not all(_all_failed(each) for each in attempted):
        return None
    return "; ".join(f"{each.evaluator}: {_told(each)}" for each in attempted)


def _told(evaluation: Evaluation) -> str:
    """An evaluator's failures in one line: each reason once, with its first message."""
    first = {failure.reason: failure.message for failure in reversed(evaluation.failures)}
    times = Counter(failure.reason for failure in evaluation.failures)
    return "; ".join(f"{reason}: {first[reason]}" for reason, _ in times.most_common())


def _success(found: Mapping[str, Evaluation]) -> bool | None:
    """Whether the conversation was a success for the user, as far as anything says so."""
    by_efficiency, by_correctness = found.get(efficiency.NAME), found.get(correctness.NAME)
    if by_efficiency is not None and by_efficiency.headline is not None:
        return by_efficiency.task_completed
    if by_correctness is not None and by_correctness.headline is not None:
        return by_correctness.headline not in _FAILING
    return None


def _number(evaluation: Evaluation | None) -> float | None:
    headline = evaluation.headline if evaluation else None
    return float(headline) if isinstance(headline, int | float) else None


def _verdict(evaluation: Evaluation | None) -> str | None:
    return str(evaluation.headline) if evaluation and evaluation.headline is not None else None
