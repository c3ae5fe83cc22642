"""Threads through evaluators: which threads, which evaluators, and what becomes of the findings.

Nothing here knows a queue or a database. A thread's evaluators run side by side, each its own
boundary: what one of them could not find out takes nothing from the others.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, cast

from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.judging.evaluator import Coverage, Evaluation, Evaluator
from evalqueue.evaluators.judging.judge import Judge, concurrently
from evalqueue.evaluators.judging.registry import installed
from evalqueue.evaluators.judging.scores import (
    Score,
    ScoreDeclaration,
    ScoreKind,
    ScoreRow,
    ScoreValue,
    fits,
)
from evalqueue.evaluators.providers.errors import CallOutcome

NOT_MEASURED = "not_measured"
"""In the place of a failure: the data do not say what a score comes to."""
_MAX_TURN = 2**31 - 1  # what the table's column holds


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadResult:
    """What was found in one thread: its scores, the columns of its row, and its JSON."""

    thread_id: str
    success_status: bool | None
    result: Mapping[str, Any]
    error: str | None
    """Why nothing at all was measured, although something was attempted."""
    scores: tuple[ScoreRow, ...] = ()
    columns: Mapping[str, ScoreValue | None] = field(default_factory=dict[str, ScoreValue | None])
    """The columns of its row that headlines fill."""

    @property
    def failed(self) -> bool:
        return self.error is not None


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
    drawn = set(
        sorted(known, key=lambda thread_id: _sample_rank(seed, thread_id))[: max(0, sample_size)]
    )
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
        success_status=success,
        result=_result(thread, found, success),
        error=_error(evaluations),
        scores=tuple(row for each in evaluations for row in score_rows(each)),
        columns={
            each.declaration.column: _column(each)
            for each in evaluations
            if each.declaration.column is not None
        },
    )


def score_rows(evaluation: Evaluation) -> tuple[ScoreRow, ...]:
    """The scores of an evaluation as they are stored.

    A value that is not what was declared is a failure; a score that was not declared is none. A
    failure is booked on the score that it kept from being measured.
    """
    declaration = evaluation.declaration
    rows: dict[tuple[str, int | None], ScoreRow] = {}
    for score in evaluation.scores:
        declared = declaration.score(score.name)
        if declared is not None and _is_placed(score, declared):
            rows[score.name, score.turn] = _row(evaluation, declared, score)
    headline = declaration.headline_score
    for failure in evaluation.failures:
        at_turn = declaration.turn_score if failure.turn is not None else None
        declared, turn = (headline, None) if at_turn is None else (at_turn, failure.turn)
        there = rows.get((declared.name, turn))
        if there is None or there.value is None:
            rows[declared.name, turn] = _failed(evaluation, declared, failure.reason, turn)
    if (found := rows.get((headline.name, None))) is None or found.value is None:
        reasons = Counter(failure.reason for failure in evaluation.failures)
        for reason, _ in reasons.most_common(1):
            rows[headline.name, None] = _failed(evaluation, headline, reason, None)
    return tuple(rows.values())


def _is_placed(score: Score, declared: ScoreDeclaration) -> bool:
    if score.turn is None:
        return not declared.per_turn
    return declared.per_turn and 1 <= score.turn <= _MAX_TURN


def _row(evaluation: Evaluation, declared: ScoreDeclaration, score: Score) -> ScoreRow:
    if not fits(score.value, declared):
        return _failed(evaluation, declared, CallOutcome.SCHEMA_INVALID, score.turn)
    value = score.value
    return ScoreRow(
        evaluator=evaluation.evaluator,
        version=evaluation.version,
        name=declared.name,
        kind=declared.kind,
        turn=score.turn,
        value=str(value) if declared.kind is ScoreKind.CATEGORY and value is not None else value,
        expected=score.expected,
        evidence=score.evidence,
        reasoning=score.reasoning,
        failure=NOT_MEASURED if score.is_unknown else None,
    )


def _failed(
    evaluation: Evaluation, declared: ScoreDeclaration, reason: CallOutcome, turn: int | None
) -> ScoreRow:
    return ScoreRow(
        evaluator=evaluation.evaluator,
        version=evaluation.version,
        name=declared.name,
        kind=declared.kind,
        turn=turn,
        failure=reason.value,
    )


def _sample_rank(seed: int, thread_id: str) -> bytes:
    return sha256(f"{seed}:{thread_id}".encode(errors="replace")).digest()


def _result(
    thread: Thread, found: Mapping[str, Evaluation], success: bool | None
) -> dict[str, object]:
    """The thread's JSON: findings that refer to turns by number and never repeat them."""
    there = {
        name: kind.declaration
        for name, kind in installed().items()
        if not (kind.is_optional or kind.on_request) or name in found
    }
    declarations = there | {name: each.declaration for name, each in found.items()}
    return {
        **{
            each.details_key: found[name].details if name in found else None
            for name, each in declarations.items()
        },
        "thread": {
            "thread_id": thread.thread_id,
            "user_id": thread.user_id,
            "message_count": len(thread.turns),
            "started_at": thread.started_at.isoformat(),
            "duration_seconds": thread.duration.total_seconds(),
            "has_errors": thread.has_errors,
        },
        "success_status": success,
        "failed_evaluators": {
            name: _failures_in_words(evaluation)
            for name, evaluation in found.items()
            if _all_failed(evaluation)
        },
        "skipped_evaluators": [name for name in there if name not in found],
        "failures": [
            failure.as_json() for evaluation in found.values() for failure in evaluation.failures
        ],
        "coverage": {name: coverage_of(each).as_json() for name, each in found.items()},
        "evaluator_versions": {name: each.version for name, each in found.items()},
    }


def coverage_of(evaluation: Evaluation) -> Coverage:
    """How many answers an evaluator was to find, and how many it found."""
    details: Any = evaluation.details
    match details:
        case None:
            judged = 0
        case list():
            rows = cast("list[Mapping[str, Any]]", details)  # JSON: one object per message
            judged = sum(row.get("judged", True) for row in rows)
        case _:
            judged = 1
    missing = len(evaluation.failures) + evaluation.unknown
    return Coverage(judged=judged, attempted=judged + missing)


def _all_failed(evaluation: Evaluation) -> bool:
    """Whether nothing was found out. Of votes without a majority it is known how far they agree."""
    coverage = coverage_of(evaluation)
    reasons = {failure.reason for failure in evaluation.failures}
    return coverage.judged == 0 and bool(reasons - {CallOutcome.UNDECIDED})


def _error(evaluations: Iterable[Evaluation]) -> str | None:
    """Why there is nothing: every answer that was asked for failed."""
    attempted = [each for each in evaluations if coverage_of(each).judged or each.failures]
    if not attempted or not all(_all_failed(each) for each in attempted):
        return None
    return "; ".join(f"{each.evaluator}: {_failures_in_words(each)}" for each in attempted)


def _failures_in_words(evaluation: Evaluation) -> str:
    """An evaluator's failures in one line: each reason once, with its first message."""
    first = {failure.reason: failure.message for failure in reversed(evaluation.failures)}
    times = Counter(failure.reason for failure in evaluation.failures)
    return "; ".join(f"{reason}: {first[reason]}" for reason, _ in times.most_common())


def _success(found: Mapping[str, Evaluation]) -> bool | None:
    """Whether the conversation was a success for the user, as far as anything says so."""
    ranked = [
        (kind.success_rank, found[name].task_completed)
        for name, kind in installed().items()
        if kind.success_rank is not None and name in found
    ]
    known = sorted(each for each in ranked if each[1] is not None)
    return known[0][1] if known else None


def _column(evaluation: Evaluation) -> float | str | None:
    """A headline as its column takes it."""
    value = evaluation.headline
    return float(value) if isinstance(value, int | float) else value
