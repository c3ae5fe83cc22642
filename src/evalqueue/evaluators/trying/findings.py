"""What an evaluator that is tried found in a conversation, as JSON."""

from typing import TypedDict

from evalqueue import codec
from evalqueue.evaluators.judging.evaluator import Evaluation, StoredFailure
from evalqueue.evaluators.judging.quotes import CheckedQuote
from evalqueue.evaluators.judging.scores import ScoreRow, ScoreValue
from evalqueue.evaluators.judging.threads import score_rows

TEXT_LIMIT = 2_000
"""Characters of a reasoning, a message or a quote."""
EVIDENCE_LIMIT = 10
"""Quotes of a score."""


class FoundScore(TypedDict):
    """A score of a conversation, or of a turn."""

    name: str
    turn: int | None
    value: ScoreValue | None
    expected: str | None
    reasoning: str | None
    evidence: list[CheckedQuote]
    failure: str | None


class FoundByEvaluator(TypedDict):
    """What an evaluator found in a conversation."""

    evaluator: str
    version: str
    scores: list[FoundScore]
    failures: list[StoredFailure]


def as_json(evaluation: Evaluation) -> FoundByEvaluator:
    """Scores with their evidence and reasoning, and failures, of one conversation."""
    rows = sorted(score_rows(evaluation), key=lambda row: row.turn or 0)
    return {
        "evaluator": evaluation.evaluator,
        "version": evaluation.version,
        "scores": [_score(each) for each in rows],
        "failures": [
            {**each.as_json(), "message": _cut(each.message)} for each in evaluation.failures
        ],
    }


def _score(row: ScoreRow) -> FoundScore:
    evidence: list[CheckedQuote] = [
        {**each, "quote": _cut(str(each.get("quote", "")))}
        for each in row.evidence[:EVIDENCE_LIMIT]
    ]
    return {
        "name": row.name,
        "turn": row.turn,
        "value": row.value,
        "expected": row.expected,
        "reasoning": None if row.reasoning is None else _cut(row.reasoning),
        "evidence": evidence,
        "failure": row.failure,
    }


def _cut(text: str) -> str:
    return codec.clean_text(text, limit=TEXT_LIMIT)
