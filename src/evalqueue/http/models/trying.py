"""The JSON of evaluators that are tried."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from evalqueue.http.models.fields import Model
from evalqueue.jobs import JobStatus


class TriedScore(Model):
    """A score of a conversation, or of a turn."""

    name: str
    turn: int | None
    """Null: it is about the whole conversation."""
    value: bool | float | str | None
    """Null: there was nothing to measure, or there is a failure."""
    expected: str | None
    """The label on record that the value is compared with."""
    reasoning: str | None
    evidence: list[dict[str, Any]]
    """Quotes, each with its turn and whether it was found in the conversation."""
    failure: str | None
    """Why there is no value."""


class TriedFailure(Model):
    """Why there is no verdict."""

    evaluator: str
    reason: str
    message: str
    turn: int | None


class TriedEvaluator(Model):
    """What one evaluator found in a conversation."""

    evaluator: str
    version: str
    scores: list[TriedScore]
    failures: list[TriedFailure]
    calls: int
    """LLM calls that were made. 0: there was nothing to judge."""
    tokens_in: int
    tokens_out: int
    cost_usd: Decimal | None
    """Null: the price of the model is not known."""


class TriedThread(Model):
    """What the evaluators found in a conversation, side by side."""

    thread_id: str
    findings: list[TriedEvaluator]


class Tried(Model):
    """What a job has found so far."""

    job_id: UUID
    status: JobStatus
    error_message: str | None
    evaluators: list[str]
    thread_ids: list[str]
    """The conversations that are tried."""
    threads: list[TriedThread]
    """Those that are done, in the order in which they were."""
