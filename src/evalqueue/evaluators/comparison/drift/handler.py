"""How `check-drift` works: it submits a batch, waits for it without a slot, and compares."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypedDict
from uuid import UUID

from evalqueue.client import Client
from evalqueue.context import JobContext
from evalqueue.errors import InvalidParams, JobFailed, Postponed
from evalqueue.evaluators.comparison.compare import ScoreChange
from evalqueue.evaluators.comparison.drift import store
from evalqueue.evaluators.comparison.drift.decision import (
    DecidedScore,
    DriftDecision,
    Judgements,
    decide,
)
from evalqueue.evaluators.comparison.drift.job_type import CheckDrift
from evalqueue.evaluators.comparison.drift.store import Anchor
from evalqueue.jobs import Job, JobStatus
from evalqueue.postgres.database import Connection
from evalqueue.settings import Settings

LOOK_SECONDS = (1.0, 60.0)
"""Between two looks at the batch: at least, at most."""


class DriftScoreJson(TypedDict):
    """One score, judged twice."""

    evaluator: str
    name: str
    title: str
    alarm: bool
    pairs: int
    flips: int
    better: int
    worse: int
    before: float | None
    now: float | None
    detectable: float | None
    kappa: Mapping[str, Any] | None
    """With its 95 % interval."""
    p_value: float
    """Adjusted for all tests of all scores."""


class DriftResult(TypedDict):
    """The result of the job."""

    alarm: bool
    decidable: bool
    """False: there were too few values for an alarm, whatever they are."""
    reasons: list[str]
    anchor_run_id: str
    checked_run_id: str
    app_id: str | None
    conversations: int
    scores: list[DriftScoreJson]
    not_compared: dict[str, str]
    """Reasons by score."""
    model_changed: bool
    served_before: list[str]
    served_now: list[str]


async def check_drift(context: JobContext, params: CheckDrift, settings: Settings) -> DriftResult:
    """Judge again, and decide.

    Raises:
        Postponed: the batch is not over.
        JobFailed: the anchor can't be judged again, or nothing can be compared.
    """
    owner, what = context.job.owner, f"Job {context.job.id}"
    try:
        anchor = await context.database.until_done(partial(params.found, owner=owner), what=what)
    except InvalidParams as error:
        raise JobFailed(str(error)) from error
    batch = await _batch(context, params, settings, anchor)
    again = _run_of(context, batch)
    found = await context.database.until_done(
        partial(store.judgements, anchor=anchor.id, again=again, owner=owner), what=what
    )
    if found is None:
        raise JobFailed("One of the two runs was deleted")
    conversations = found.comparison.conversations.both
    decision = decide(found, params.tolerance)
    outcome = "alarm" if decision.alarm else "no alarm" if decision.decidable else "not decidable"
    context.progress(
        conversations, conversations, f"Compared {conversations} conversations: {outcome}"
    )
    result = await asyncio.to_thread(_result, anchor, again, found, decision)
    if not decision.scores:
        reasons = "; ".join(sorted(set(result["not_compared"].values()))) or "there is no score"
        raise JobFailed(f"Nothing can be compared: {reasons}", result=dict(result))
    return result


async def _batch(
    context: JobContext, params: CheckDrift, settings: Settings, anchor: Anchor
) -> Job:
    """The job that judges again: each attempt of this one finds the same."""
    client = Client(settings=settings, database=context.database)

    async def submit(connection: Connection) -> Job:
        thread_ids = await params.thread_ids(connection, anchor)
        if not thread_ids:
            raise JobFailed("The anchor has measured nothing: take another run")
        return await client.submit(
            params.batch(anchor, thread_ids),
            connection=connection,
            owner=context.job.owner,
            queue=context.job.queue,
            priority=context.job.priority,
            idempotency_key=f"check-drift {context.job.id}",
        )

    try:
        return await context.retry_fenced(submit)
    except InvalidParams as error:
        raise JobFailed(f"It can't be judged again: {error}") from error


def _run_of(context: JobContext, batch: Job) -> UUID:
    """The run of a batch that is completed.

    Raises:
        Postponed: it is not over.
        JobFailed: it came to another end.
    """
    if not batch.status.is_over:
        done = batch.progress
        context.progress(
            done.current, done.total, f"Judged by job {batch.id}", batch_id=str(batch.id)
        )
        least, most = LOOK_SECONDS
        age = (datetime.now(UTC) - batch.created_at).total_seconds()
        raise Postponed(f"Job {batch.id} judges again", after=min(most, max(least, age / 4)))
    if batch.status is not JobStatus.COMPLETED or batch.run_id is None:
        raise JobFailed(f"Job {batch.id}, which was to judge again, is {batch.status}")
    return batch.run_id


def _result(anchor: Anchor, again: UUID, found: Judgements, decision: DriftDecision) -> DriftResult:
    measured = {(each.drift.evaluator, each.drift.name) for each in decision.scores}
    return {
        "alarm": decision.alarm,
        "decidable": decision.decidable,
        "reasons": list(decision.reasons),
        "anchor_run_id": str(anchor.id),
        "checked_run_id": str(again),
        "app_id": anchor.app_id,
        "conversations": found.comparison.conversations.both,
        "scores": [_score(each) for each in decision.scores],
        "not_compared": {
            f"{each.evaluator}.{each.name}": str(each.reason)
            for each in found.comparison.scores
            if each.change is ScoreChange.NOT_COMPARED
            and (each.evaluator, each.name) not in measured
        },
        "model_changed": decision.model_changed,
        "served_before": list(decision.served_before),
        "served_now": list(decision.served_now),
    }


def _score(decided: DecidedScore) -> DriftScoreJson:
    drift = decided.drift
    kappa = drift.kappa()
    return {
        "evaluator": drift.evaluator,
        "name": drift.name,
        "title": drift.title,
        "alarm": decided.alarm,
        "pairs": drift.pairs,
        "flips": drift.flips,
        "better": drift.better,
        "worse": drift.worse,
        "before": drift.before,
        "now": drift.now,
        "detectable": drift.detectable,
        "kappa": None if kappa is None else asdict(kappa),
        "p_value": decided.p_value,
    }
