"""How a worker runs."""

from dataclasses import dataclass, field

from evalqueue.worker.leader import Retention

SLICE = 5.0  # seconds a job has its slot to itself before it yields it to another


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker runs. The names are those of procrastinate's command line."""

    name: str | None = None
    version: str = ""
    queues: list[str] | None = field(default_factory=lambda: ["evalqueue"])
    """None: every queue."""
    concurrency: int = 4
    """Jobs at the same time."""
    wait: bool = True
    """False: return once there is nothing left to do."""
    listen_notify: bool = True
    fetch_job_polling_interval: float = 30.0
    """Seconds between polls, in case a notification is lost."""
    shutdown_graceful_timeout: float | None = None
    """Seconds to let jobs finish after a stop; None: as long as they take."""
    delete_tasks_after: frozenset[str] = frozenset()
    """Outcomes after which procrastinate's row is deleted."""
    install_signal_handlers: bool = True
    update_heartbeat_interval: float = 10.0  # seconds
    lease_seconds: float = 30.0
    patience_seconds: float = 5.0
    """How long an interrupted handler may take to end, after each of three cancellations."""
    slice_seconds: float = SLICE
    retention: Retention = field(default_factory=Retention)
    """How long finished jobs, runs and logs are kept."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    """Where Prometheus's metrics are served; 0: on any free port; None: nowhere."""
