"""What is reported of jobs: spans by the conventions for messaging, and fields of log records.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

from collections.abc import Generator
from contextlib import contextmanager

from evalqueue.jobs import Ended, Job
from evalqueue.telemetry import logs, spans
from evalqueue.telemetry.spans import Attributes, SpanType, TracedWork

_SYSTEM = "evalqueue"
_FAILURES = frozenset({"failed", "retry"})


@contextmanager
def submission(queue: str, job_type: str | None, *, count: int = 1) -> Generator[TracedWork]:
    """The span of a submission. Its `traceparent` goes with the job.

    Args:
        job_type: None: there are several.
        count: of jobs.
    """
    attributes: Attributes = {
        "messaging.system": _SYSTEM,
        "messaging.operation.name": "submit",
        "messaging.operation.type": "send",
        "messaging.destination.name": queue,
        "messaging.batch.message_count": None if count == 1 else count,
        "evalqueue.job.type": job_type,
    }
    with spans.span(f"submit {queue}", SpanType.PRODUCER, attributes) as work:
        yield work


def submitted(work: TracedWork, job: Job) -> Job:
    """Note which job came of a submission."""
    work.set({"messaging.message.id": str(job.id)})
    return job


@contextmanager
def attempt(job: Job) -> Generator[TracedWork]:
    """An attempt at a job: its span, and what its log records have in common."""
    run_id = None if job.run_id is None else str(job.run_id)
    attributes: Attributes = {
        "messaging.system": _SYSTEM,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": job.queue,
        "messaging.message.id": str(job.id),
        "messaging.client.id": job.worker,
        "evalqueue.job.type": job.job_type,
        "evalqueue.job.attempt": job.attempt,
        "evalqueue.job.helps": None if job.parent_id is None else str(job.parent_id),
        "evalqueue.run.id": run_id,
    }
    fields = {
        "job_id": str(job.id),
        "job_type": job.job_type,
        "attempt": job.attempt,
        "worker": job.worker,
        "run_id": run_id,
    }
    with (
        logs.bound(fields),
        spans.span_of(
            job.traceparent, f"process {job.queue}", SpanType.CONSUMER, attributes
        ) as work,
    ):
        yield work


def attempt_ended(work: TracedWork, ended: Ended | None) -> None:
    """Note how an attempt ended. None: it was over already: cancelled, or taken over."""
    outcome = "over" if ended is None else ended.kind.value
    work.set({"evalqueue.attempt.outcome": outcome})
    if outcome in _FAILURES:
        work.fail(outcome)


@contextmanager
def item(noun: str, field: str, key: str) -> Generator[TracedWork]:
    """The work on an item of a job.

    Args:
        noun: what the span is called.
        field: what the item's key is called.
        key: of the item.
    """
    attributes: Attributes = {f"evalqueue.{field}": key}
    with logs.bound({field: key}), spans.span(noun.lower(), attributes=attributes) as work:
        yield work
