"""What every process has: connections to Postgres, notifications, an event loop."""

import asyncio
from collections.abc import Iterable
from importlib.metadata import version

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from evalqueue.metrics.registry import Metrics
from evalqueue.postgres.database import Database
from evalqueue.postgres.listener import Listener

LAG_INTERVAL = 0.5  # seconds between two measurements
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)


class ProcessMetrics:
    """Reads the pool and the listener of a process, and measures its event loop.

    `database` and `listener` are set once there are any.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.database: Database | None = None
        self.listener: Listener | None = None
        self._lag = metrics.histogram(
            "evalqueue_event_loop_lag_seconds",
            "How much later than asked for the event loop ran a timer.",
            buckets=_LAG_BUCKETS,
        ).of()
        metrics.add(self)

    def collect(self) -> Iterable[Metric]:
        yield self._build()
        if self.database is not None:
            yield from _pool(self.database)
        if self.listener is not None and not self.listener.is_starting:
            yield from _notifications(self.listener)

    async def measure_lag(self) -> None:
        """Measure the event loop, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            self._lag.observe(max(0.0, loop.time() - due))

    def _build(self) -> Metric:
        build = GaugeMetricFamily(
            "evalqueue_build_info", "1; the version is a label.", labels=["version"]
        )
        build.add_metric([version("evalqueue")], 1)
        return build


def _pool(database: Database) -> Iterable[Metric]:
    use = database.pool_use()
    connections = GaugeMetricFamily(
        "evalqueue_pool_connections", "Connections to Postgres in the pool.", labels=["state"]
    )
    connections.add_metric(["used"], use.used)
    connections.add_metric(["idle"], use.idle)
    yield connections
    yield GaugeMetricFamily(
        "evalqueue_pool_connections_max", "Connections that the pool may have.", value=use.most
    )
    yield GaugeMetricFamily(
        "evalqueue_pool_waiting", "Statements that wait for a connection.", value=use.waiting
    )


def _notifications(listener: Listener) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "evalqueue_notifications_connected",
        "1: the last probe of notifications arrived, and the connection was not lost since.",
        value=float(listener.is_listening),
    )
    age = listener.probe_age_seconds
    if age is not None:
        yield GaugeMetricFamily(
            "evalqueue_notifications_probe_age_seconds",
            "Since a probe of notifications arrived.",
            value=age,
        )
