"""What the database says of all jobs and workers: read when metrics are scraped."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import psycopg
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from evalqueue.errors import DatabaseUnavailable, SchemaOutdated
from evalqueue.metrics.registry import BoundedNames, Metrics
from evalqueue.postgres.database import TRANSIENT, Connection, Database
from evalqueue.postgres.queries import load
from evalqueue.telemetry import tasks

CACHE_SECONDS = 1.0  # for which several scrapers get the same figures
STATEMENT_TIMEOUT_MS = 2000
READ_TIMEOUT = 3.0  # seconds that a scrape waits for the database at most
QUEUES_MAX, PRIORITIES_MAX, JOBS_MAX = 100, 100, 50_000  # that the statement reads
OF_JOB = ("queue", "job_type")

_QUERIES = load("queue/metrics")
_FAMILIES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "due": (
        "evalqueue_queue_due_jobs",
        "Jobs that wait for a worker; 50,000 are counted at most, over all queues.",
        OF_JOB,
    ),
    "later": (
        "evalqueue_queue_later_jobs",
        "Jobs that are scheduled, or retried after a delay; counted likewise.",
        OF_JOB,
    ),
    "oldest_due": (
        "evalqueue_queue_oldest_due_age_seconds",
        "For how long the oldest due job waits; no series if none does.",
        OF_JOB,
    ),
    "running": ("evalqueue_running_jobs", "Running jobs, without helper jobs.", OF_JOB),
    "paused": ("evalqueue_queue_paused", "1 for each paused queue.", ("queue",)),
    "complete": (
        "evalqueue_queue_counts_complete", "0: more jobs wait than are counted.", (),
    ),
    "workers": ("evalqueue_workers", "Workers that sent a heartbeat in the last 30 s.", ()),
    "slots": ("evalqueue_worker_slots", "Jobs that these workers run at the same time.", ()),
    "leaders": ("evalqueue_leaders", "1: a worker leads the fleet.", ()),
    "leases_run_out": (
        "evalqueue_leases_run_out",
        "Running jobs that were not recovered 30 s after their lease ran out.",
        (),
    ),
}  # fmt: skip
"""Of each figure: the name of its family, what it is, and its labels."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFigure:
    """One figure of the statement."""

    figure: str
    queue: str
    job_type: str
    value: float


class FleetMetrics:
    """The figures of the last read, as metrics.

    A read that fails or takes too long leaves the figures away, and says so.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._names = {labels: metrics.names(*labels) for _, _, labels in _FAMILIES.values()}
        self._figures: list[FleetFigure] | None = None
        self._read_at: float | None = None
        self._seconds = 0.0
        self._reading: asyncio.Task[None] | None = None
        metrics.add(self)

    async def refresh(self, database: Callable[[], Awaitable[Database]]) -> None:
        """Read the figures, unless that was done just now. Takes 3 s at most."""
        if self._read_at is not None and time.monotonic() - self._read_at < CACHE_SECONDS:
            return
        if self._reading is None or self._reading.done():
            self._reading = tasks.start(self._read(database), name="fleet metrics")
        await asyncio.wait({self._reading}, timeout=READ_TIMEOUT)
        if not self._reading.done():
            self._figures = None

    async def aclose(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "evalqueue_database_up",
            "1: the figures of the database were read. Without them there are no such series.",
            value=float(self._figures is not None),
        )
        yield GaugeMetricFamily(
            "evalqueue_database_read_seconds",
            "How long the last read of these figures took.",
            value=self._seconds,
        )
        for figure, (name, text, labels) in _FAMILIES.items():
            family = GaugeMetricFamily(name, text, labels=labels)
            totals = _merged(
                (each for each in self._figures or () if each.figure == figure),
                self._names[labels],
                len(labels),
                combine=max if figure == "oldest_due" else float.__add__,
            )
            for values, value in totals.items():
                family.add_metric(values, value)
            yield family

    async def _read(self, database: Callable[[], Awaitable[Database]]) -> None:
        began = time.monotonic()
        figures = None
        try:
            async with (await database()).connection() as connection:
                figures = await read_fleet(connection)
        except (DatabaseUnavailable, SchemaOutdated, psycopg.Error, *TRANSIENT) as error:
            logger.warning("The fleet's metrics can't be read: %s", error)
        finally:
            self._figures = figures
            self._read_at = time.monotonic()
            self._seconds = self._read_at - began


async def read_fleet(connection: Connection) -> list[FleetFigure]:
    """All figures, in one statement that may take 2 s."""
    async with connection.transaction():
        await connection.execute(
            "SELECT set_config('statement_timeout', %s, true)", [f"{STATEMENT_TIMEOUT_MS}ms"]
        )
        return await _QUERIES.rows(
            connection, FleetFigure, "fleet",
            queues=QUEUES_MAX, priorities=PRIORITIES_MAX, entries=JOBS_MAX,
        )  # fmt: skip


def _merged(
    figures: Iterable[FleetFigure],
    names: BoundedNames,
    labels: int,
    *,
    combine: Callable[[float, float], float],
) -> dict[tuple[str, ...], float]:
    """Values by those of the labels; what becomes `other` is combined."""
    merged: dict[tuple[str, ...], float] = {}
    for each in figures:
        values = names.bounded((each.queue, each.job_type)[:labels])
        known = merged.get(values)
        merged[values] = each.value if known is None else combine(known, each.value)
    return merged
