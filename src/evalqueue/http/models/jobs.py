"""The JSON of jobs and of runs.

The first fields of each model are those that clients have always had, in their order. More may
follow; none is ever renamed. Unknown values are null.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from evalqueue import jobs
from evalqueue.evaluators.judging.builtin.correctness import Correctness
from evalqueue.evaluators.judging.builtin.efficiency.verdicts import Efficiency
from evalqueue.evaluators.runs.reading import ThreadFilter
from evalqueue.http.models.fields import (
    MAX_KEY,
    MAX_NAME,
    PRINTABLE_ASCII,
    AppName,
    LabelText,
    Model,
    Moment,
    Name,
    Offset,
    RunId,
    SearchText,
    ThreadName,
    matching_fields,
    seconds,
)
from evalqueue.jobs import JobStatus
from evalqueue.problems import Written

# Requests


IdempotencyKey = Annotated[
    str,
    Field(min_length=1, max_length=MAX_KEY),
    Written(PRINTABLE_ASCII, "letters, digits and signs of ASCII"),
]


class SubmitJob(Model):
    """A submission."""

    model_config = ConfigDict(extra="forbid")

    job_type: str = Field(min_length=1, max_length=MAX_NAME)
    params: dict[str, Any] = Field(default_factory=dict[str, Any])
    """The params of the job type."""
    idempotency_key: IdempotencyKey | None = None
    """Requests with the same key submit one job, however often they are sent. A different request
    with the same key is refused. The key is stored as long as the job."""


class JobsQuery(Model):
    status: JobStatus | None = None
    """Only jobs in this state."""
    job_type: Name | None = None
    """Only jobs of this type."""
    limit: int = Field(20, ge=1, le=100)
    offset: Offset = 0


class RunsQuery(Model):
    command: Name | None = None
    """Only runs of this job type."""
    app_id: AppName | None = None
    """Only runs of this app."""
    limit: int = Field(50, ge=1, le=200)
    offset: Offset = 0


class ThreadQuery(Model):
    """Select conversations by a score, in any turn, and by a text in them. What is left out
    is not compared."""

    evaluator: Name | None = None
    """Only conversations with a score of this evaluator."""
    name: Name | None = None
    """Only with a score of this name."""
    value: LabelText | None = None
    """Only with this value of a score: a label, a number, `true` or `false`."""
    expected: LabelText | None = None
    """Only with this label on record, in the same score."""
    text: SearchText | None = None
    """Only conversations that contain this text, in any case."""

    @property
    def of_scores(self) -> ThreadFilter:
        return ThreadFilter(
            evaluator=self.evaluator,
            name=self.name,
            value=self.value,
            expected=self.expected,
        )


class ResultsQuery(RunId, ThreadQuery):
    after: Offset = 0
    """The last `id` of the page before."""
    limit: int = Field(1000, ge=1, le=1000)


class LogsQuery(RunId):
    thread_id: ThreadName | None = None
    """Only the calls about this conversation."""
    limit: int = Field(200, ge=1, le=1000)
    offset: Offset = 0


# Responses


class ProgressJson(Model):
    """The progress of a job. Job types may add further keys."""

    model_config = ConfigDict(extra="allow")

    current: int
    total: int
    message: str


class SubmittedJob(Model):
    """A job that was accepted."""

    id: UUID
    job_type: str
    status: JobStatus
    created_at: Moment
    run_id: UUID | None
    """The run that will hold its results; null if its type has none."""

    @classmethod
    def of(cls, job: jobs.Job) -> "SubmittedJob":
        return cls(
            id=job.id,
            job_type=job.job_type,
            status=job.status,
            created_at=job.created_at,
            run_id=job.run_id,
        )


class JobJson(Model):
    """A job."""

    id: UUID
    job_type: str
    status: JobStatus
    params: dict[str, Any]
    result: dict[str, Any] | None
    progress: ProgressJson
    error_message: str | None
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    owner: str
    attempt: int
    """The number of the current or last attempt; 0: none yet."""
    max_attempts: int
    failed_attempts: int
    """The attempts that count towards `max_attempts`."""
    queue: str
    priority: int
    """Higher priorities start first."""
    scheduled_at: Moment | None
    """While it is queued: the earliest start; null: it is due."""
    worker: str | None
    """Of the current or last attempt."""
    retry_of: UUID | None
    """The job that this one continues."""
    after: UUID | None
    """The job it was to start after."""
    revision: int
    """Increases with every change."""
    ahead: int | None
    """While it is queued and due: how many jobs are before it, counted up to 1000."""
    name: str | None
    """The name in its params."""
    run_id: UUID | None
    """The run that holds its results; null if its type has none."""
    continued_by: UUID | None
    """The job that continues this one."""
    retryable: bool
    """Whether a new job can continue it."""

    @classmethod
    def of(cls, job: jobs.Job) -> "JobJson":
        is_later = job.status is JobStatus.QUEUED and (
            job.waiting or job.due_at > datetime.now(UTC)
        )
        return cls(
            id=job.id,
            job_type=job.job_type,
            status=job.status,
            params=dict(job.params),
            result=None if job.result is None else dict(job.result),
            progress=ProgressJson.model_validate(job.progress.as_json()),
            error_message=job.error_message,
            created_at=job.created_at,
            started_at=job.started_at,
            completed_at=job.completed_at,
            owner=job.owner,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            failed_attempts=job.failed_attempts,
            queue=job.queue,
            priority=job.priority,
            scheduled_at=job.due_at if is_later else None,
            worker=job.worker,
            retry_of=job.retry_of,
            after=job.after_id,
            revision=job.revision,
            ahead=job.ahead,
            name=job.name,
            run_id=job.run_id,
            continued_by=job.continued_by,
            retryable=job.retryable,
        )


class RetriedJob(SubmittedJob):
    """A new job that continues one that is over, in the same run."""

    retry_of: UUID

    @classmethod
    def of(cls, job: jobs.Job) -> "RetriedJob":
        assert job.retry_of is not None, "it was made by a retry"  # noqa: S101  tells the checker
        return cls(**SubmittedJob.of(job).model_dump(), retry_of=job.retry_of)


class AttemptJson(Model):
    """One attempt at a job."""

    attempt: int
    worker: str
    started_at: Moment
    ended_at: Moment | None
    duration_seconds: float | None
    """Null while it runs."""
    outcome: str | None
    error: str | None

    @classmethod
    def of(cls, record: jobs.AttemptRecord) -> "AttemptJson":
        duration = None if record.ended_at is None else record.ended_at - record.started_at
        return cls(**matching_fields(cls, record), duration_seconds=seconds(duration))


class CancelledJob(Model):
    """A cancelled job. This is final, whatever its worker does."""

    id: UUID
    status: Literal["cancelled"] = "cancelled"


RunStatus = Literal[
    "pending", "running", "completed", "completed_with_errors", "failed", "cancelled"
]


class EvalRun(Model):
    """What one evaluation job found, or will find."""

    id: UUID
    command: str
    """The job type."""
    status: RunStatus
    llm_provider: str | None
    llm_model: str | None
    duration_seconds: float | None
    total_items: int | None
    summary: dict[str, Any] | None
    error_message: str | None
    created_at: Moment
    job_id: UUID | None
    app_id: str | None
    name: str | None
    description: str | None
    eval_temperature: float | None
    data_path: str | None
    data_file_hash: str | None
    dataset_id: str | None
    """What it evaluates, as it is stored."""
    app_digest: str | None
    """The app's content, which the run has frozen. Null: it has not begun."""
    config: dict[str, Any]
    """Frozen when the run first started."""
    owner: str
    started_at: Moment | None
    completed_at: Moment | None


class ThreadEvaluation(Model):
    """What was found in one conversation. Null is "not measured", never a bad verdict."""

    id: int
    run_id: UUID
    thread_id: str
    intent_accuracy: float | None
    worst_correctness: Correctness | None
    efficiency_verdict: Efficiency | None
    success_status: bool | None
    result: dict[str, Any]
    failed: bool
    """Nothing could be measured; `error` says why."""
    error: str | None
    created_at: Moment


class ThreadEvaluations(Model):
    """A page of a run's conversations, in the order they were finished."""

    run_id: UUID
    evaluations: list[ThreadEvaluation]
    total: int
    """Of the run, not of the page."""


class ApiLog(Model):
    """One attempt at one LLM call, without its texts."""

    id: int
    run_id: UUID
    provider: str
    model: str
    method: str
    duration_ms: float
    tokens_in: int | None
    tokens_out: int | None
    tokens_cached: int | None
    tokens_reasoning: int | None
    thread_id: str | None
    evaluator: str
    turn: int | None
    outcome: str
    try_number: int
    error: str | None
    created_at: Moment


class ApiLogs(Model):
    """A page of a run's LLM calls, newest first."""

    run_id: UUID
    logs: list[ApiLog]


class SummaryStats(Model):
    """Totals over all runs."""

    total_runs: int
    total_threads_evaluated: int
    """Different conversations."""
    total_adversarial_tests: int
