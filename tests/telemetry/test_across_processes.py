"""One trace across real processes, as a collector receives it over OTLP."""

import json
import signal
import time
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from browsing import Site, environment
from collector import CollectedSpan, Collector, collecting
from forking import fork_worker

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{CALLER}-01"
CONVERSATION = {
    "thread_id": "one",
    "messages": [
        {"role": "user", "content": "what did the marked user eat?"},
        {"role": "assistant", "content": "the marked answer: 2 apples"},
        {"role": "user", "content": "and yesterday, says the marked user?"},
        {"role": "assistant", "content": "the marked answer: 3 pears"},
    ],
}


@pytest.fixture
def collector() -> Generator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def site(dsn: str, tmp_path: Path, collector: Collector) -> Generator[Site]:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/chats.jsonl").write_text(json.dumps(CONVERSATION))
    site = Site(
        dsn,
        tmp_path,
        environment(tmp_path, dsn)
        | {
            "EVALQUEUE_DATA_DIR": str(tmp_path / "data"),
            "EVALQUEUE_LEASE_SECONDS": "2",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        },
    )
    yield site
    site.stop()


def count(site: Site, table: str) -> int:
    with psycopg.connect(site.dsn) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return row[0]


def submit(site: Site, **headers: str) -> str:
    body = {"job_type": "evaluate-batch", "params": {"data_path": "chats.jsonl", "concurrency": 1}}
    with site.http() as http:
        response = http.post("/api/jobs", json=body, headers=headers)
    assert response.status_code == 201, response.text
    return response.json()["id"]


def named(spans: list[CollectedSpan], name: str) -> list[CollectedSpan]:
    return [each for each in spans if each.name == name]


def test_a_job_is_one_trace_also_when_its_worker_is_killed(
    site: Site, collector: Collector, tmp_path: Path
):
    site.start_vendor("--latency-ms=300")
    site.api()
    first = site.worker()
    job_id = submit(site, traceparent=HEADER)
    while count(site, "api_logs") == 0:
        time.sleep(0.02)
    with site.vendor_suspended():  # nothing more ends, and what has ended is sent
        collector.wait_until(lambda spans: bool(named(spans, "chat simulated-judge")))
        first.program.send_signal(signal.SIGKILL)
        first.program.wait(60)
    assert count(site, "thread_evaluations") == 0
    # The second is plain procrastinate.
    second = fork_worker([], site.environment, tmp_path / "second.log")
    try:
        spans = collector.wait_until(lambda spans: bool(named(spans, "process evalqueue")))
    finally:
        second.terminate()
        second.join()

    assert {each.trace_id for each in spans} == {TRACE}
    (submitted,) = named(spans, "submit evalqueue")
    (attempt,) = named(spans, "process evalqueue")
    (thread,) = named(spans, "thread")
    calls = named(spans, "chat simulated-judge")
    assert submitted.service == "evalqueue-api"
    assert submitted.parent_id == CALLER
    assert {each.service for each in (attempt, thread, *calls)} == {"evalqueue-worker"}
    assert attempt.parent_id == submitted.span_id
    assert attempt.attributes["messaging.message.id"] == job_id
    assert attempt.attributes["evalqueue.job.attempt"] == 2
    assert attempt.attributes["evalqueue.attempt.outcome"] == "completed"
    assert thread.parent_id == attempt.span_id
    # What the first attempt had ended arrived, too; its own span was lost with its worker.
    earlier = [each for each in calls if each.parent_id != thread.span_id]
    later = [each for each in calls if each.parent_id == thread.span_id]
    replayed = [each for each in later if "evalqueue.call.answer" in each.attributes]
    assert earlier
    assert {each.attributes["evalqueue.call.answer"] for each in replayed} == {"replayed"}
    assert 0 < len(replayed) < len(later)
    assert all("gen_ai.usage.input_tokens" not in each.attributes for each in replayed)
    assert b"marked" not in b"".join(collector.bodies)


def test_a_process_without_an_exporter_passes_the_trace_on(site: Site, collector: Collector):
    site.start_vendor()
    site.api(OTEL_SDK_DISABLED="true")
    site.worker()
    submit(site, traceparent=HEADER)
    spans = collector.wait_until(lambda spans: bool(named(spans, "process evalqueue")))

    (attempt,) = named(spans, "process evalqueue")
    assert {each.service for each in spans} == {"evalqueue-worker"}
    assert (attempt.trace_id, attempt.parent_id) == (TRACE, CALLER)


def test_the_environment_names_the_service_and_its_exporters(site: Site, collector: Collector):
    site.start_vendor()
    site.api(OTEL_TRACES_EXPORTER="none")
    site.start(" is ready: ", "worker", OTEL_SERVICE_NAME="judges", OTEL_TRACES_EXPORTER="otlp")
    submit(site)
    spans = collector.wait_until(lambda spans: bool(named(spans, "process evalqueue")))

    assert {each.service for each in spans} == {"judges"}


def test_what_is_not_installed_is_named_and_the_process_goes_on(site: Site):
    worker = site.start(" is ready: ", "worker", OTEL_TRACES_EXPORTER="carrier-pigeon")
    assert any("'carrier-pigeon' is not installed" in line for line in worker.lines)
