"""A registry of metrics whose labels are bounded.

A counter or a histogram costs a microsecond per event and is read when it is scraped. Values of
labels that come from outside (names of queues, job types, models, evaluators) are bounded together:
beyond `NAMES_MAX` different ones, further ones become `other`.
"""

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from evalqueue import codec

NAMES_MAX = 100
NAME_LIMIT = 100  # characters
OTHER = "other"
MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4

AnyMetric = TypeVar("AnyMetric", bound=MetricWrapperBase)
Names = tuple[str, ...]


class MetricsCollector(Protocol):
    """What a registry reads when it is scraped."""

    def collect(self) -> Iterable[Metric]: ...


class BoundedNames:
    """Names from outside that belong together, such as a queue and a job type."""

    def __init__(self, limit: int = NAMES_MAX) -> None:
        self._limit = limit
        self._known: dict[Names, Names] = {}

    def knows(self, names: Names) -> bool:
        """Whether these have a series of their own."""
        return names in self._known

    def bounded(self, names: Names) -> Names:
        """The names as values of labels; `other` for each of them, if there are too many."""
        known = self._known.get(names)
        if known is None:
            if len(self._known) >= self._limit:
                return (OTHER,) * len(names)
            known = tuple(codec.clean_text(each, limit=NAME_LIMIT) for each in names)
            self._known[names] = known
        return known


class Labelled(Generic[AnyMetric]):
    """A metric with labels, of which the first come from outside."""

    def __init__(self, metric: AnyMetric, names: BoundedNames, outside: int) -> None:
        self._metric = metric
        self._names = names
        self._outside = outside
        self._series: dict[Names, AnyMetric] = {}

    def of(self, *values: str) -> AnyMetric:
        """The series with these values, in the order of the labels."""
        if not values:
            return self._metric
        series = self._series.get(values)
        if series is None:
            outside = values[: self._outside]
            bounded = self._names.bounded(outside)
            series = self._metric.labels(*bounded, *values[self._outside :])
            if self._names.knows(outside):  # others may be any number
                self._series[values] = series
        return series


class Metrics:
    """The metrics of one process, or of one worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._names: dict[Names, BoundedNames] = {}
        self._included: list[Metrics] = []

    def names(self, *labels: str) -> BoundedNames:
        """The known values of labels from outside: the same for all metrics with these labels."""
        return self._names.setdefault(labels, BoundedNames())

    def counter(
        self, name: str, text: str, *, outside: Names = (), labels: Names = ()
    ) -> Labelled[Counter]:
        """A counter.

        Args:
            name: with its unit and `_total`.
            text: what is counted.
            outside: labels whose values come from outside.
            labels: further labels, of a few values.
        """
        counter = Counter(name, text, (*outside, *labels), registry=self.registry)
        return Labelled(counter, self.names(*outside), len(outside))

    def gauge(self, name: str, text: str) -> Gauge:
        """A value that goes up and down."""
        return Gauge(name, text, registry=self.registry)

    def histogram(
        self,
        name: str,
        text: str,
        *,
        buckets: Sequence[float],
        outside: Names = (),
        labels: Names = (),
    ) -> Labelled[Histogram]:
        """A histogram, with the upper bounds of its buckets; otherwise as `counter`."""
        histogram = Histogram(
            name, text, (*outside, *labels), buckets=buckets, registry=self.registry
        )
        return Labelled(histogram, self.names(*outside), len(outside))

    def add(self, collector: MetricsCollector) -> None:
        """Add what is read when it is scraped."""
        self.registry.register(collector)

    def include(self, others: "Metrics") -> None:
        """Expose the metrics of another registry, too."""
        self._included.append(others)

    def collect(self) -> Iterable[Metric]:
        """All families, without the moments at which their series were created."""
        for family in self.registry.collect():
            family.samples = [each for each in family.samples if not _is_creation(each.name)]
            yield family
        for each in self._included:
            yield from each.collect()

    def expose(self) -> bytes:
        """The metrics in Prometheus's text format, `MEDIA_TYPE`."""
        return generate_latest(self)


def _is_creation(name: str) -> bool:
    return name.endswith("_created")
