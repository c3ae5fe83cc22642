"""Log records of real processes: what a line of JSON holds."""

import json
import re
import subprocess
import sys
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from browsing import Process, Site, environment

from evalqueue.telemetry import logs

TRACE = "0af7651916cd43dd8448eb211c80319c"
HANDLERS = """
import json
import logging
import os
import warnings
from pathlib import Path

from evalqueue import ItemWork, register_job_handler
from evalqueue.context import Checkpoint, current

logger = logging.getLogger("shop.orders")


class Pieces(ItemWork):
    log_field = "piece"

    async def work(self, item):
        logger.warning("A piece", extra={"colour": "blue"})
        return item

    async def store(self, connection, result):
        pass


@register_job_handler("speak")
async def speak(job_id, params):
    logger.warning("Said by %s", "a handler", extra={"order": 7, "odd": {1, 2}})
    await current.get().map(["a"], Pieces(), checkpoint=Checkpoint(), concurrency=1)
    if params.get("leaks"):
        key = os.environ["SHOP_API_KEY"]
        logger.error("The key is %s", key, extra={"key": key})
        logger.error("It is %r, or %r", key, key.encode())
        logger.error("Nested", extra={"headers": {key: [{"X-Key": (key,)}, Path(key)]}})
        warnings.warn(f"Warned of {key}")
        told = json.loads(os.environ["SHOP_SETTINGS"])
        logger.error("Told %s", [*told["headers"].values()])
        try:
            raise ValueError(f"the key {key} at " + os.environ["SHOP_URL"])
        except ValueError:
            logger.exception("with a traceback")
        logger.warning("DETAIL:  Failing row contains (%s).", "a text\\nof two lines")
        logger.warning("%r", ValueError("no\\nDETAIL:  Failing row contains (a text)."))
    if params.get("forges"):
        forged = "2026-01-01 00:00:00,000 INFO evalqueue.worker: forged"
        logger.warning("thread %s", f"a\\x1b[2J\\r\\n{forged}\\u2028{forged}")
        try:
            raise ValueError(f"b\\n{forged}")
        except ValueError:
            logger.exception("with a traceback")
    if params.get("fails"):
        raise ZeroDivisionError("two\\nlines")
    return {}
"""


@pytest.fixture
def site(dsn: str, tmp_path: Path) -> Generator[Site]:
    (tmp_path / "shop.py").write_text(HANDLERS)
    settings = {
        "EVALQUEUE_LOG_FORMAT": "JSON",
        "EVALQUEUE_IMPORTS": "shop",
        "EVALQUEUE_SIMULATED_URL": "http://127.0.0.1:9",
        "EVALQUEUE_LLM_PROVIDER": "simulated",
        "PYTHONPATH": str(tmp_path),
    }
    site = Site(dsn, tmp_path, environment(tmp_path, dsn) | settings)
    yield site
    site.stop()


def submit(site: Site, params: dict[str, Any], **options: str) -> str:
    given = "".join(f", {name} => '{value}'" for name, value in options.items())
    with psycopg.connect(site.dsn, autocommit=True) as connection:
        row = connection.execute(
            f"SELECT evalqueue_submit_job('speak', %s{given})", [json.dumps(params)]
        ).fetchone()
    assert row is not None
    return str(row[0])


def wait_until_over(site: Site, job_id: str) -> None:
    with psycopg.connect(site.dsn, autocommit=True) as connection:
        while not _one(
            connection, "SELECT completed_at IS NOT NULL FROM jobs WHERE id = %s", job_id
        ):
            _one(connection, "SELECT pg_sleep(0.05) IS NULL")


def _one(connection: psycopg.Connection, sql: str, *arguments: object) -> Any:
    row = connection.execute(sql.encode(), arguments).fetchone()
    assert row is not None
    return row[0]


def records(lines: list[str]) -> list[dict[str, Any]]:
    """Every line is a record."""
    return [json.loads(line) for line in lines if line.strip()]


def ended(process: Process) -> list[str]:
    process.stop()
    process.reading.join()
    return process.lines


def test_a_worker_writes_a_line_of_json_for_each_record(site: Site):
    worker = site.worker()
    job_id = submit(site, {"fails": True}, max_attempts="1")
    wait_until_over(site, job_id)
    found = records(ended(worker))

    for each in found:
        moment = datetime.fromisoformat(each["timestamp"])
        assert moment.utcoffset() == datetime.now(UTC).utcoffset()
        assert {"level", "logger", "message"} <= set(each)
    (ready,) = [each for each in found if " is ready: " in each["message"]]
    assert "job_id" not in ready
    of_job = [each for each in found if each.get("job_id") == job_id]
    (said,) = [each for each in of_job if each["message"] == "Said by a handler"]
    assert (said["logger"], said["level"], said["order"]) == ("shop.orders", "WARNING", 7)
    assert said["job_type"] == "speak"
    assert said["attempt"] == 1
    assert said["worker"] == ready["message"].split(" is ready")[0]
    assert "run_id" not in said, "it has none"
    assert "piece" not in said
    (piece,) = [each for each in of_job if each["message"] == "A piece"]
    assert (piece["piece"], piece["colour"]) == ("a", "blue")
    (failed,) = [each for each in of_job if "exception" in each]
    assert failed["exception"].startswith("Traceback")
    assert "in speak" in failed["exception"]
    assert failed["exception"].endswith("LoggedError: builtins.ZeroDivisionError")
    assert {each["message"].split()[-1] for each in of_job} >= {"failed"}
    (stopping,) = [each for each in found if each["message"].startswith("Stopping")]
    assert stopping["worker"] == said["worker"]
    assert "job_id" not in stopping


def test_records_of_jobs_that_run_together_have_each_its_own_fields(site: Site):
    worker = site.worker()
    jobs = [submit(site, {}) for _ in range(8)]
    for each in jobs:
        wait_until_over(site, each)
    found = records(ended(worker))

    said = [each["job_id"] for each in found if each["message"] == "Said by a handler"]
    assert sorted(said) == sorted(jobs)
    for each in found:
        if named := re.search(r"[Jj]ob ([0-9a-f-]{36})", each["message"]):
            assert each["job_id"] == named[1]


def test_plain_procrastinate_writes_json_too(site: Site, tmp_path: Path):
    log = tmp_path / "procrastinate.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [
                Path(sys.executable).with_name("procrastinate"),
                "--app=evalqueue.daemon.app",
                "worker",
            ],
            env=site.environment | {"EVALQUEUE_LOG_LEVEL": "debug"},
            stderr=output,
        )
    job_id = submit(site, {})
    wait_until_over(site, job_id)
    worker.terminate()
    worker.wait()

    # Its own command line prints a line before.
    lines = log.read_text().splitlines()
    found = records([each for each in lines if each.startswith("{")])
    assert [each for each in found if each.get("job_id") == job_id]
    after = lines[next(n for n, each in enumerate(lines) if each.startswith("{")) :]
    assert records(after) == found


def test_up_passes_on_its_children_s_records(site: Site):
    up = site.start("web page", "up", "--port=0", EVALQUEUE_LOG_LEVEL="INFO")
    job_id = submit(site, {})
    wait_until_over(site, job_id)
    lines = ended(up)

    found = records([each for each in lines if each.startswith("{")])
    assert [each for each in found if each.get("job_id") == job_id]
    assert {each["child"] for each in found if "child" in each} >= {"API"}
    others = [each for each in lines if each.strip() and not each.startswith("{")]
    assert not [each for each in others if " | " in each], "only what is printed for people"


def test_an_error_that_ends_a_process_is_a_record(site: Site):
    environment = site.environment | {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing"}
    done = subprocess.run(
        [sys.executable, "-m", "evalqueue", "worker"],
        env=environment | {"EVALQUEUE_DATABASE_WAIT_SECONDS": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    last = records(done.stderr.splitlines())[-1]
    assert (last["level"], last["logger"]) == ("CRITICAL", "evalqueue.cli.main")
    assert last["message"]


def test_the_level_is_the_environment_s(site: Site):
    worker = site.start("A piece", "worker", EVALQUEUE_LOG_LEVEL="WARNING", X_JOB=submit(site, {}))
    assert {each["level"] for each in records(ended(worker))} == {"WARNING"}


def test_text_is_as_it_was(site: Site):
    job_id = submit(site, {})
    worker = site.start(
        rf"Job {job_id}: attempt 1 completed", "worker", EVALQUEUE_LOG_FORMAT="text"
    )
    line = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING) [\w.]+: \S")
    assert all(line.match(each) for each in ended(worker))


def test_no_value_begins_a_line_of_a_text_log(site: Site):
    job_id = submit(site, {"forges": True})
    worker = site.start(
        rf"Job {job_id}: attempt 1 completed", "worker", EVALQUEUE_LOG_FORMAT="text"
    )
    lines = "".join(ended(worker)).split("\n")

    assert sum("evalqueue.worker: forged" in each for each in lines) == 2
    assert not [each for each in lines if each.startswith("2026-01-01 00:00:00,000 ")]
    assert any(r"thread a\x1b[2J\r\n2026-01-01" in each for each in lines)
    assert "\x1b" not in "".join(lines)
    begun = next(n for n, each in enumerate(lines) if each.endswith("with a traceback"))
    assert lines[begun + 1] == "  Traceback (most recent call last):"


def test_secrets_are_found_in_json_in_headers_and_in_lists_of_keys():
    environment = {
        "EVALQUEUE_CHATBOT_CREDENTIALS": json.dumps(
            {"anna": {"user_id": "anna-the-user", "token": "of-anna-0123", "host": "bot.example"}}
        ),
        "EVALQUEUE_SOURCES": json.dumps(
            {
                "chat": {
                    "address": "postgresql://reader:of%2Fsources@host/chat",
                    "relation": "public.m",
                }
            }
        ),
        "SHOP_API_KEYS": '["first-key-1", "second-key-2"]',
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic 0123456789, x-team=evaluators",
        "EVALQUEUE_PRICES": '{"model-of-ours": {"input": 1}}',
        "BROKEN": '{"token": "',
    }
    found = logs.secrets_of(environment)

    assert {"of-anna-0123", "of%2Fsources", "of/sources", "first-key-1", "second-key-2",
            "Basic 0123456789"} <= set(found)  # fmt: skip
    assert not [each for each in found if each in ("anna-the-user", "bot.example", "model-of-ours")]


def test_the_api_logs_each_request(site: Site):
    api = site.api()
    run_id = "0f1cf6f2-1111-4222-8333-444455556666"
    with site.http() as http:
        http.get("/api/jobs?limit=5&status=queued")
        http.get(f"/api/eval-runs/{run_id}/threads/a%20private%20text")
        http.get("/healthz")
        http.get("/nowhere%0Aelse")
        http.get("/sk-0123/sk-4567")
        http.get(f"/{'x' * 40}")
    lines = [each for each in ended(api) if each.startswith("{")]
    found = [each for each in records(lines) if each["logger"] == "evalqueue.http.access_log"]

    assert [(each["method"], each["path"], each["status"]) for each in found] == [
        ("GET", "/api/jobs", 200),
        ("GET", f"/api/eval-runs/{run_id}/threads/{{evaluation_id}}", 422),
        ("GET", "/nowhere\nelse", 404),
        ("GET", "/sk-0123/…", 404),
        ("GET", f"/{'x' * 30}/…", 404),
    ]
    assert {(each["level"], each["owner"], each["address"]) for each in found} == {
        ("INFO", "default", "127.0.0.1")
    }
    assert all(0 < each["duration_ms"] < 30_000 for each in found)
    assert re.fullmatch(
        r"GET /api/jobs 200 in [\d.]+ ms for default from 127.0.0.1", found[0]["message"]
    )


def test_a_wrong_setting_is_named(site: Site):
    done = subprocess.run(
        [sys.executable, "-m", "evalqueue", "worker"],
        env=site.environment | {"EVALQUEUE_LOG_FORMAT": "xml"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "EVALQUEUE_LOG_FORMAT" in done.stderr


def test_records_of_a_traced_attempt_name_its_trace(site: Site):
    job_id = submit(site, {}, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    worker = site.start(
        rf"Job {job_id}: attempt 1 completed", "worker",
        OTEL_TRACES_EXPORTER="console",
    )  # fmt: skip
    lines = ended(worker)

    found = records([each for each in lines if each.startswith('{"level"') or '"logger"' in each])
    of_job = [each for each in found if each.get("job_id") == job_id]
    assert {each["trace_id"] for each in of_job} == {TRACE}
    (piece,) = [each for each in of_job if each["message"] == "A piece"]
    (said,) = [each for each in of_job if each["message"] == "Said by a handler"]
    assert piece["span_id"] != said["span_id"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets_of_the_environment_are_hidden_whatever_writes_them(site: Site, log_format: str):
    key, password = 'sh"op\\-ünsaid-key', "of-the-shop"
    headers = {"api-key": "a-key-with-a-dash", "x.bearer": "who-bears-it"}
    job_id = submit(site, {"leaks": True})
    worker = site.start(
        rf"Job {job_id}: attempt 1 completed", "worker", EVALQUEUE_LOG_FORMAT=log_format,
        SHOP_API_KEY=key, SHOP_URL=f"https://shop:{password}@127.0.0.1/",
        SHOP_SETTINGS=json.dumps({"headers": headers}),
    )  # fmt: skip
    written = "\n".join(ended(worker))

    assert "The key is [hidden]" in written
    assert "the key [hidden] at https://shop:[hidden]@127.0.0.1/" in written
    assert "DETAIL: [hidden]" in written
    assert "Warned of [hidden]" in written
    assert written.count("py.warnings") == 1, "it is a record like any other"
    for secret in (
        key, json.dumps(key)[1:-1], password, "ünsaid", "nsaid-key", *headers.values(),
        "a text", "two lines",
    ):  # fmt: skip
        assert secret not in written
