"""Labels are bounded, whatever names come from outside, and registries share nothing."""

from prometheus_client.parser import text_string_to_metric_families
from scraping import parsed, value

from evalqueue.metrics.registry import NAME_LIMIT, NAMES_MAX, Metrics


def shown(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return parsed(metrics.expose().decode())


def test_more_names_than_a_hundred_become_other():
    metrics = Metrics()
    counter = metrics.counter("seen_total", "?", outside=("queue", "job_type"), labels=("outcome",))
    for number in range(10 * NAMES_MAX):
        counter.of(f"queue-{number}", "t", "good").inc()
    counter.of("queue-0", "t", "good").inc()
    figures = shown(metrics)

    assert len(figures) == NAMES_MAX + 1
    assert value(figures, "seen_total", queue="queue-0", job_type="t", outcome="good") == 2
    others = value(figures, "seen_total", queue="other", job_type="other", outcome="good")
    assert others == 9 * NAMES_MAX
    assert len(counter._series) == NAMES_MAX, "others are not remembered"


def test_metrics_with_the_same_labels_know_the_same_names():
    metrics = Metrics()
    first = metrics.counter("first_total", "?", outside=("model",))
    second = metrics.histogram("second_seconds", "?", buckets=(1,), outside=("model",))
    for number in range(NAMES_MAX):
        first.of(f"m-{number}").inc()
    second.of("late").observe(3)

    assert value(shown(metrics), "second_seconds_count", model="other") == 1


def test_hostile_names_can_be_exposed_and_read():
    metrics = Metrics()
    counter = metrics.counter("seen_total", "?", outside=("model",))
    for name in ('"}\n# evil 1', "\x00\ud800", "é" * 10_000, "\\", ""):
        counter.of(name).inc()
    names = [dict(labels)["model"] for _, labels in shown(metrics)]

    assert len(names) == 5
    assert max(len(name) for name in names) == NAME_LIMIT
    assert '"}\n# evil 1' in names


def test_registries_share_nothing_and_one_can_expose_another():
    first, second = Metrics(), Metrics()
    first.counter("seen_total", "?").of().inc()
    second.counter("seen_total", "?")
    assert value(shown(second), "seen_total") == 0

    both = Metrics()
    both.include(first)
    assert value(shown(both), "seen_total") == 1


def test_no_moment_of_creation_is_exposed():
    metrics = Metrics()
    metrics.counter("seen_total", "?").of().inc()
    metrics.histogram("time_seconds", "?", buckets=(1,)).of().observe(0.5)
    text = metrics.expose().decode()

    assert "_created" not in text
    assert [family.name for family in text_string_to_metric_families(text)] == [
        "seen", "time_seconds",
    ]  # fmt: skip
