"""Error responses for wrong paths and methods, database failures, and bugs."""

import asyncio
import logging
import os
import signal
import socket
import time
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.http.conftest import PATIENCE, readiness

from evalqueue import Client, Settings
from evalqueue.evaluators import EvaluateBatch
from evalqueue.http.app import OPERATIONS
from evalqueue.http.server import serve
from evalqueue.postgres.database import ANSWER_PATIENCE, Database
from evalqueue.telemetry.logs import LoggedError


async def test_an_unknown_path_is_not_found(api: httpx.AsyncClient) -> None:
    reply = await api.get("/api/nothing")

    assert (reply.status_code, reply.json()) == (404, {"detail": "Not Found"})


async def test_the_response_to_a_wrong_method_lists_the_right_ones(api: httpx.AsyncClient) -> None:
    reply = await api.delete("/healthz")
    elsewhere = await api.delete("/api/jobs")

    assert (reply.status_code, reply.json()) == (405, {"detail": "Method Not Allowed"})
    assert set(reply.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert set(elsewhere.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


async def test_a_bug_is_logged_and_tells_nothing(
    api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        reply = await api.post("/api/jobs", json={"job_type": "broken"})

    assert (reply.status_code, reply.json()) == (500, {"detail": "Internal error"})
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is LoggedError
    assert str(record.exc_info[1]) == "builtins.ZeroDivisionError"
    assert "ZeroDivisionError: the secret" not in caplog.text


async def test_a_busy_pool_is_tried_again_later(
    api: httpx.AsyncClient, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    patience = database.pool.timeout
    async with AsyncExitStack() as held:
        for _ in range(database.pool.max_size):
            await held.enter_async_context(database.connection())
        database.pool.timeout = 0.05  # only now, because the pool had to grow before
        reply = await api.get("/api/jobs")
    database.pool.timeout = patience

    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) > 0
    assert "DATABASE_URL" in reply.json()["detail"]
    assert "PoolTimeout" in caplog.text
    assert (await api.get("/api/jobs")).status_code == 200


async def test_readiness_does_not_wait_for_as_long_as_a_request_may(
    api: httpx.AsyncClient, database: Database
) -> None:
    async with AsyncExitStack() as held:
        for _ in range(database.pool.max_size):
            await held.enter_async_context(database.connection())
        database.pool.timeout = 2 * PATIENCE  # longer than any other timeout here
        async with asyncio.timeout(PATIENCE):
            reply = await api.get("/readyz", timeout=None)

    assert reply.status_code == 503


async def test_a_connection_cut_by_the_server_is_tried_again_later(
    api: httpx.AsyncClient, database: Database
) -> None:
    assert (await readiness(api)).status_code == 200
    async with database.connection() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        backend = connection.info.backend_pid
    async with await connection.connect(database.conninfo, autocommit=True) as other:
        await other.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])

    reply = await api.get("/api/jobs")

    assert reply.status_code in (200, 503)  # the pool may have detected it already
    async with asyncio.timeout(PATIENCE):
        while (await api.get("/api/jobs")).status_code != 200:
            continue


async def test_a_missing_database_is_reported_without_its_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        settings = Settings(port=0, database_wait_seconds=0)
        client = Client(f"postgresql://ada:hush@127.0.0.1:{port}/evals", settings=settings)
        async with (
            serve(client) as address,
            httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=PATIENCE) as http,
        ):
            for path in ("/readyz", "/api/jobs", "/api/eval-runs"):
                reply = await http.get(path)
                assert reply.status_code == 503
                assert "DATABASE_URL" in reply.json()["detail"]
                assert not {"hush", "ada", str(port)} & set(reply.text.replace(":", " ").split())
            assert (await http.get("/healthz")).json() == {"status": "ok"}


async def test_a_database_without_our_schema_is_not_ready(empty_dsn: str) -> None:
    async with (
        Client(empty_dsn, settings=Settings(port=0)) as client,
        serve(client) as address,
        httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        reply = await readiness(http, schema=False)

    assert reply.status_code == 503
    assert "evalqueue migrate" in reply.json()["detail"]


async def test_a_current_database_that_tells_what_changes_is_ready(api: httpx.AsyncClient) -> None:
    reply = await readiness(api)

    assert (reply.status_code, reply.json()["status"]) == (200, "ready")
    checks = {each["name"]: each for each in reply.json()["checks"]}
    assert list(checks) == ["database", "schema", "notifications"]
    assert all(each["ok"] and each["fix"] is None for each in checks.values())
    # The API is ready without a worker.
    assert [each["name"] for each in reply.json()["warnings"]] == ["workers"]


async def test_readiness_names_each_check_and_what_to_do(empty_dsn: str) -> None:
    async with (
        Client(empty_dsn, settings=Settings(port=0)) as client,
        serve(client) as address,
        httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        reply = await readiness(http, schema=False)

    assert (reply.status_code, reply.json()["status"]) == (503, "unready")
    assert int(reply.headers["retry-after"]) > 0
    checks = {each["name"]: each for each in reply.json()["checks"]}
    assert list(checks) == ["database", "schema", "notifications"]
    assert checks["schema"]["fix"] == "evalqueue migrate"


async def test_a_process_that_receives_no_notifications_is_not_ready(
    dsn: str, empty_dsn: str
) -> None:
    """LISTEN in another database receives nothing, like LISTEN behind a pooler."""
    async with (
        Client(
            database=Database(dsn, listen_conninfo=empty_dsn), settings=Settings(port=0)
        ) as client,
        serve(client) as address,
        httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        database = await client.database()
        await database.open()
        reply = await readiness(http, notifications=False)
        await client.aclose()
        await database.close()

    assert reply.status_code == 503


async def test_readiness_says_what_is_wrong_with_the_fleet_and_nothing_of_its_work(
    api: httpx.AsyncClient, database: Database
) -> None:
    async with database.connection() as connection:
        await connection.execute("SELECT evalqueue_submit_job('note', queue => 'secret')")
        await connection.execute("UPDATE jobs SET due_at = now() - interval '5 min'")
        await connection.execute("SELECT evalqueue_submit_job('note', owner => 'secret')")
        await connection.execute(
            "UPDATE procrastinate_jobs SET status = 'doing' WHERE queue_name <> 'secret'"
        )
        await connection.execute(
            "UPDATE jobs SET lease_expires_at = now() - interval '1 min' WHERE status = 'running'"
        )

    reply = await readiness(api)

    assert reply.status_code == 200
    assert [each["name"] for each in reply.json()["warnings"]] == ["workers", "waiting", "lease"]
    assert all(each["fix"] == "evalqueue doctor" for each in reply.json()["warnings"])
    assert "secret" not in reply.text


async def test_a_frozen_database_is_reported_in_time(
    api: httpx.AsyncClient, database: Database
) -> None:
    assert (await readiness(api)).status_code == 200
    async with AsyncExitStack() as held:
        connections = [
            await held.enter_async_context(database.connection())
            for _ in range(database.pool.max_size)
        ]
        backends = [each.info.backend_pid for each in connections]
    for backend in backends:
        os.kill(backend, signal.SIGSTOP)
    try:
        began = time.monotonic()
        reply = await api.get("/readyz", timeout=None)
        took = time.monotonic() - began
    finally:
        for backend in backends:
            os.kill(backend, signal.SIGCONT)

    assert reply.status_code == 503
    assert not reply.json()["checks"][0]["ok"]
    assert took < ANSWER_PATIENCE - 10  # a request may take that long


async def test_every_path_has_its_methods_and_no_others(api: httpx.AsyncClient) -> None:
    ids = {
        "job_id": uuid4(),
        "run_id": uuid4(),
        "baseline_id": uuid4(),
        "queue_id": uuid4(),
        "alert_id": uuid4(),
        "dataset_id": f"sha256:{'0' * 64}",
    }
    methods: dict[str, set[str]] = {}
    for each in OPERATIONS:
        methods.setdefault(each.path, set()).add(each.method)
    for path, known in methods.items():
        address = path.format(
            **ids, evaluation_id=1, log_id=1, case_id="c", app_id="kaira-bot", queue="q",
            share_id=uuid4(), token="evs_unknown",
        )  # fmt: skip
        for method in ("HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "CONNECTED"):
            reply = await api.request(method, address)
            if method == "HEAD" and "GET" in known:
                assert reply.status_code in (200, 404), path
                assert reply.content == b""
            else:
                assert reply.status_code == 405, path


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET http://evil.example/api/jobs HTTP/1.1\r\nHost: localhost", 404),
        ("GET http://localhost/api/jobs HTTP/1.1\r\nHost: localhost", 404),
        ("CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost", 404),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost", 404),
        ("GET /api/jobs HTTP/1.1\r\nHost: localhost\r\nHost: localhost", 400),
        ("GET /api/jobs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", 400),
        ("GET //evil.example/api/jobs/ HTTP/1.1\r\nHost: localhost", 404),
        ("GET /api/jobs HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1", 200),
        ("GET /assets/app.js HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1", 200),
    ],
)
async def test_what_no_browser_of_ours_would_send_leads_nowhere(
    api: httpx.AsyncClient, head: str, status: int
) -> None:
    reader, writer = await asyncio.open_connection(api.base_url.host, api.base_url.port)
    writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE):
        first = await reader.readline()
    writer.close()
    assert int(first.split()[1]) == status


async def test_a_path_without_parameters_is_never_taken_for_an_id(api: httpx.AsyncClient) -> None:
    reply = await api.get("/api/eval-runs/preview")  # not a run named "preview"
    assert reply.status_code == 405
    assert reply.headers["allow"] == "POST"


SECRET = "sk-proj-4eC39HqLyjWDarjtT1zdp7dc"


@pytest.mark.parametrize(
    "params",
    [
        {"data_path": SECRET},
        {"total_items": 1, "llm_provider": SECRET},
        {"total_items": 1, "thread_ids": [SECRET]},
        {"total_items": 1, "app_id": SECRET},
        {"total_items": 1, "evaluators": [SECRET]},
        {"total_items": 1, "replay": SECRET},
        {"total_items": 1, "votes": {SECRET: 3}},
        {"dataset_id": SECRET},
        {"total_items": SECRET},
        {"total_items": 1, SECRET: 1},
        {"total_items": 1, "api_key": SECRET},
    ],
    ids=str,
)
async def test_what_is_refused_is_neither_logged_nor_stored(
    database: Database, params: dict[str, Any], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A key in the wrong param is shown to its sender alone."""
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    caplog.set_level(logging.DEBUG)
    client = Client(job_types=[EvaluateBatch], settings=Settings(port=0), database=database)
    body = {"job_type": "evaluate-batch", "params": params}
    async with serve(client) as address, httpx.AsyncClient(base_url=address.url) as http:
        reply = await http.post("/api/jobs", json=body, headers={"Idempotency-Key": "once"})

    assert reply.status_code == 422
    assert SECRET not in caplog.text
    async with database.connection() as connection:
        for table in ("jobs", "eval_runs", "datasets", "dataset_owners", "procrastinate_jobs"):
            cursor = await connection.execute(f"SELECT t::text FROM {table} AS t".encode())
            assert SECRET not in str(await cursor.fetchall())
