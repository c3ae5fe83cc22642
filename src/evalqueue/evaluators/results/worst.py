"""The conversations of a run, the worst first, by what its evaluators declare as bad.

Ranked is the score that stands for each evaluator. The first of its bad labels is the worst; labels
that are neither good, bad nor neutral come behind all bad ones; numbers decide only between
conversations that are equal by then.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from evalqueue.evaluators.judging.scores import (
    EvaluatorDeclaration,
    ScoreDeclaration,
    ScoreKind,
    ScoreValue,
)
from evalqueue.evaluators.runs.reading import ThreadFilter
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load

QUERIES = load("evaluation/results")
_BEHIND_ALL_BAD = 1_000  # a rank; evaluators have fewer labels


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedThread:
    """What a conversation came to."""

    id: int
    thread_id: str
    success_status: bool | None
    error: str | None
    """Why nothing at all could be measured."""
    missing_verdicts: int
    messages: int | None
    scores: Mapping[str, ScoreValue | None]
    """Of the whole conversation: `evaluator.name`: value."""
    bad: int
    """How many evaluators gave it a bad label."""
    found: int
    """Conversations that fit, with those that are not listed."""
    found_bad: int
    """Those of them that have a bad label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _RankedLabel:
    evaluator: str
    name: str
    label: str
    rank: int

    @property
    def is_bad(self) -> bool:
        return self.rank < _BEHIND_ALL_BAD


async def worst_first(
    connection: Connection,
    run_id: UUID,
    evaluators: Sequence[EvaluatorDeclaration],
    *,
    wanted: Sequence[ThreadFilter] = (),
    thread_ids: Sequence[str] | None = None,
    limit: int,
) -> list[ListedThread]:
    """The worst conversations of a run that have all scores that are wanted, among those of these
    ids (None: all)."""
    labels = [each for one in evaluators for each in _ranked(one)]
    numbers = [each for one in evaluators for each in _numbered(one)]
    arguments: dict[str, Any] = {
        "thread_ids": thread_ids,
        "evaluators": [each.evaluator for each in labels],
        "names": [each.name for each in labels],
        "labels": [each.label for each in labels],
        "ranks": [each.rank for each in labels],
        "are_bad": [each.is_bad for each in labels],
        "number_evaluators": [name for name, *_ in numbers],
        "number_names": [name for _, name, *_ in numbers],
        "worst_numbers": [worst for *_, worst, _ in numbers],
        "best_numbers": [best for *_, best in numbers],
        "wanted_evaluators": [each.evaluator for each in wanted],
        "wanted_names": [each.name for each in wanted],
        "wanted_values": [each.value for each in wanted],
    }
    return await QUERIES.rows(
        connection,
        ListedThread,
        "worst",
        run_id=run_id,
        limit=limit,
        **arguments,
    )


def bad_labels(
    scores: Mapping[str, ScoreValue | None], evaluators: Iterable[EvaluatorDeclaration]
) -> list[str]:
    """The bad labels among the scores of a conversation, the worst first."""
    found: list[tuple[int, int, str]] = []
    for place, evaluator in enumerate(evaluators):
        value = scores.get(f"{evaluator.name}.{evaluator.headline}")
        for each in _ranked(evaluator):
            if each.is_bad and each.label == _label(value):
                shown = value if isinstance(value, str) else f"{evaluator.title}: {each.label}"
                found.append((each.rank, place, shown))
    return [shown for *_, shown in sorted(found)]


def _ranked(evaluator: EvaluatorDeclaration) -> Iterator[_RankedLabel]:
    """The labels of an evaluator that are not well done, with their ranks."""
    score = evaluator.headline_score
    for rank, label in enumerate(_bad(score), start=1):
        yield _RankedLabel(evaluator=evaluator.name, name=score.name, label=label, rank=rank)
    if score.good or score.bad:
        for label in score.labels:
            if label not in {*score.good, *score.bad, *score.neutral}:
                yield _RankedLabel(
                    evaluator=evaluator.name, name=score.name, label=label, rank=_BEHIND_ALL_BAD
                )


def _bad(score: ScoreDeclaration) -> Sequence[str]:
    if score.kind is ScoreKind.BOOLEAN and score.higher_is_better is not None:
        return ["false" if score.higher_is_better else "true"]
    return score.bad


def _numbered(evaluator: EvaluatorDeclaration) -> Iterator[tuple[str, str, float, float]]:
    """The number that stands for an evaluator, with its worst and its best value."""
    score = evaluator.headline_score
    ends = score.minimum, score.maximum
    if score.kind is not ScoreKind.NUMBER or score.higher_is_better is None:
        return
    low, high = ends
    if low is not None and high is not None and low < high:
        worst, best = (low, high) if score.higher_is_better else (high, low)
        yield evaluator.name, score.name, worst, best


def _label(value: ScoreValue | None) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
