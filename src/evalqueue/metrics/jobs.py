"""What happens to jobs in one worker."""

import time
from collections.abc import Callable

from evalqueue.jobs import AttemptOutcome, Job, JobStatus
from evalqueue.metrics.registry import Metrics

OVER = "over"
"""The outcome of an attempt that ended from outside without the worker's being notified: its lease
was lost, or it was cancelled."""

_OF_JOB = ("queue", "job_type")
_PICKUP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 1800, 7200)
_RUN_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)


class JobMetrics:
    """Counts what a worker does with jobs, and tells whether it leads the fleet."""

    def __init__(self, metrics: Metrics) -> None:
        self._claims = metrics.counter(
            "evalqueue_claims_total", "Jobs that workers claimed.", outside=_OF_JOB
        )
        self._attempts = metrics.counter(
            "evalqueue_attempts_total", "Attempts that ended.", outside=_OF_JOB, labels=("outcome",)
        )
        self._pickup = metrics.histogram(
            "evalqueue_pickup_seconds",
            "From the moment a job was due to its first claim, by the database's clock.",
            buckets=_PICKUP_BUCKETS,
            outside=_OF_JOB,
        )
        self._run = metrics.histogram(
            "evalqueue_run_seconds",
            "From an attempt's claim to its recorded end.",
            buckets=_RUN_BUCKETS,
            outside=_OF_JOB,
        )
        self._lost = metrics.counter(
            "evalqueue_lease_losses_total",
            "Running jobs of lost workers that this worker sent back to the queue or failed.",
        ).of()
        self._leads_until = 0.0
        metrics.gauge(
            "evalqueue_is_leader", "1: this worker is the leader of the fleet."
        ).set_function(lambda: float(time.monotonic() < self._leads_until))
        self._running: Callable[[], int] = lambda: 0
        metrics.gauge(
            "evalqueue_running_attempts", "Attempts that run in this worker."
        ).set_function(lambda: float(self._running()))

    def claimed(self, job: Job) -> None:
        """A job was claimed."""
        self._claims.of(job.queue, job.job_type).inc()
        if job.attempt == 1 and job.started_at is not None:
            waited = (job.started_at - job.due_at).total_seconds()
            self._pickup.of(job.queue, job.job_type).observe(max(waited, 0.0))

    def ended(self, job: Job, outcome: str, seconds: float) -> None:
        """An attempt ended, so long after its claim."""
        self._attempts.of(job.queue, job.job_type, outcome).inc()
        self._run.of(job.queue, job.job_type).observe(seconds)

    def recorded(
        self, job: Job, kind: AttemptOutcome, status: JobStatus | None, seconds: float
    ) -> None:
        """An attempt's end was recorded: the job's status since; None: it was over already."""
        outcome: str = kind
        if status is None:
            outcome = OVER
        elif kind is AttemptOutcome.RETRY:  # what the table calls it
            outcome = AttemptOutcome.FAILED if status.is_over else "retried"
        self.ended(job, outcome, seconds)

    def recovered(self, jobs: int) -> None:
        """Running jobs had lost their workers, and were recovered."""
        self._lost.inc(jobs)

    def leads(self, term_seconds: float) -> None:
        """This worker leads the fleet for a term; 0: another one does."""
        self._leads_until = time.monotonic() + term_seconds

    def watch_running(self, count: Callable[[], int]) -> None:
        """Tell how many attempts run, when it is asked."""
        self._running = count
