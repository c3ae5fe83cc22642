"""Documents, rules and dashboard name the metrics that the product exposes, and no others."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import GaugeMetricFamily

from evalqueue import Settings
from evalqueue.evaluators.handlers import evaluation_handlers
from evalqueue.evaluators.providers.registry import ProviderSettings
from evalqueue.http.request_metrics import ApiMetrics
from evalqueue.metrics.process import ProcessMetrics
from evalqueue.metrics.registry import Metrics
from evalqueue.postgres.database import Database
from evalqueue.postgres.listener import Listener
from evalqueue.worker.loop import Worker
from evalqueue.worker.options import WorkerOptions

ROOT = Path(__file__).parents[2]
RULES = (ROOT / "deploy/prometheus/evalqueue.rules.yml").read_text("utf-8")
DASHBOARD = json.loads((ROOT / "deploy/grafana/evalqueue.json").read_text("utf-8"))
NAME = re.compile(r"\bevalqueue_[a-z0-9_]+")
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
Defined = dict[str, tuple[str, tuple[str, ...]]]


def definitions(metrics: Metrics) -> Defined:
    """The kind and the labels of each metric, by its name."""
    found: Defined = {}
    for collector in metrics.registry._collector_to_names:
        if isinstance(collector, MetricWrapperBase):
            kind, suffix = collector._type, "_total" if collector._type == "counter" else ""
            found[collector._name + suffix] = (kind, tuple(collector._labelnames))
            continue
        for family in collector.collect():
            assert isinstance(family, GaugeMetricFamily)
            found[family.name] = (family.type, tuple(family._labelnames))
    for other in metrics._included:
        found |= definitions(other)
    return found


@pytest.fixture
async def exposed(database: Database) -> dict[str, Defined]:
    """What API and worker expose."""
    async with Listener(database, []) as listener:
        await listener.wait_for_proof()
        api = ApiMetrics(watchers=lambda: 0)
        handlers = evaluation_handlers(Settings(), ProviderSettings())
        worker = Worker(database=database, handlers=handlers, options=WorkerOptions())
        of_worker: Any = worker
        for process in (api.process, of_worker._process_metrics):
            assert isinstance(process, ProcessMetrics)
            process.database, process.listener = database, listener
        found = {"API": definitions(api), "worker": definitions(worker.metrics)}
    await handlers.close()
    return found


def documented() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Name, place, labels and meaning of each metric in the documents."""
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    table = page.split("### Metrics\n")[1].split("\n###")[0]
    for line in [each for each in table.splitlines() if each.startswith("| `")]:
        names, labels, place, meaning = (cell.strip() for cell in line.strip("|").split("|"))
        for name in re.findall(r"`(\w+)`", names):
            yield name, place, tuple(re.findall(r"`(\w+)`", labels)), meaning


def test_the_documents_have_every_metric_with_its_labels(exposed: dict[str, Defined]):
    api, worker = exposed["API"], exposed["worker"]
    expected = {
        name: ("both" if name in api and name in worker else "API" if name in api else "worker",
            (worker | api)[name])
        for name in worker | api
    }  # fmt: skip
    found = {
        name: (place, ("histogram" if "histogram" in meaning else "counter" if
            name.endswith("_total") else "gauge", labels))
        for name, place, labels, meaning in documented()
    }  # fmt: skip
    assert found == expected


def test_names_follow_the_conventions_and_have_a_meaning(exposed: dict[str, Defined]):
    for name, (kind, labels) in (exposed["API"] | exposed["worker"]).items():
        assert name.startswith("evalqueue_")
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(
            r"_(ms|minutes|hours|kb|mb|percent|count|sum|bucket|info_total)$", name
        )
        assert len(labels) <= 3
    assert [name for name in exposed["worker"] if exposed["worker"][name][0] == "histogram"] != []
    for name, (kind, _) in exposed["worker"].items():
        assert kind != "histogram" or name.endswith("_seconds")


def expressions() -> list[str]:
    """Of the rules and the dashboard."""
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    return [line for line in RULES.splitlines() if not line.lstrip().startswith("#")] + shown


def test_rules_and_dashboard_ask_for_metrics_that_exist(exposed: dict[str, Defined]):
    samples = {
        name.removesuffix("_total") + suffix
        for name, (kind, _) in (exposed["API"] | exposed["worker"]).items()
        for suffix in SUFFIXES[kind]
    }
    asked = {name for text in expressions() for name in NAME.findall(text)}
    assert asked <= samples
    assert len(asked) > 20


def test_what_rules_and_dashboard_group_by_are_labels(exposed: dict[str, Defined]):
    labelled = [labels for defined in exposed.values() for _, labels in defined.values()]
    known = {label for labels in labelled for label in labels}
    for text in expressions():
        for group in re.findall(r"(?:by|on) \(([^)]*)\)", text):
            assert set(group.replace(" ", "").split(",")) <= known | {"le", "instance", "job"}


def test_the_dashboard_can_be_imported():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    assert DASHBOARD["uid"] == "evalqueue"
    assert [each["type"] for each in DASHBOARD["templating"]["list"]] == ["datasource"]
    taken = set[tuple[int, int]]()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_alert_is_documented_and_tested():
    alerts = set(re.findall(r"- alert: (\w+)", RULES))
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    tests = (ROOT / "deploy/prometheus/evalqueue.test.yml").read_text("utf-8")
    assert set(re.findall(r"`(Evalqueue\w+)`", page)) == alerts
    assert set(re.findall(r"alertname: (\w+)", tests)) == alerts
