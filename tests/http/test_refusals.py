"""When something else is wrong: the path, the method, the database, our own code."""

import asyncio
import logging
import socket
from contextlib import AsyncExitStack

import httpx
import pytest

from evalqueue import Client, Settings
from evalqueue.database import Database
from evalqueue.http.health import READY_WITHIN
from evalqueue.http.serve import serve


async def test_an_unknown_path_is_not_found(api: httpx.AsyncClient) -> None:
    reply = await api.get("/api/nothing")

    assert (reply.status_code, reply.json()) == (404, {"detail": "Not Found"})


async def test_a_wrong_method_is_told_the_right_ones(api: httpx.AsyncClient) -> None:
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
    assert record.exc_info[0] is ZeroDivisionError


async def test_a_busy_pool_is_tried_again_later(
    api: httpx.AsyncClient, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database.pool.timeout = 0.05
    async with AsyncExitStack() as held:
        for _ in range(database.pool.max_size):
            await held.enter_async_context(database.connection())
        reply = await api.get("/api/jobs")

    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) > 0
    assert "DATABASE_URL" in reply.json()["detail"]
    assert "PoolTimeout" in caplog.text
    assert (await api.get("/api/jobs")).status_code == 200


async def test_readiness_does_not_wait_for_as_long_as_a_request_may(
    api: httpx.AsyncClient, database: Database
) -> None:
    async with AsyncExitStack() as held, asyncio.timeout(READY_WITHIN + 5):
        for _ in range(database.pool.max_size):
            await held.enter_async_context(database.connection())
        reply = await api.get("/readyz", timeout=None)

    assert reply.status_code == 503


async def test_a_connection_cut_by_the_server_is_tried_again_later(
    api: httpx.AsyncClient, database: Database
) -> None:
    assert (await api.get("/readyz")).status_code == 200
    async with database.connection() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        backend = connection.info.backend_pid
    async with await connection.connect(database.conninfo, autocommit=True) as other:
        await other.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])

    reply = await api.get("/api/jobs")

    assert reply.status_code in (200, 503)  # the pool may have noticed already
    async with asyncio.timeout(20):
        while (await api.get("/api/jobs")).status_code != 200:
            continue


async def test_a_database_that_is_not_there_is_said_and_its_address_is_not() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        settings = Settings(port=0, database_wait_seconds=0)
        client = Client(f"postgresql://ada:hush@127.0.0.1:{port}/evals", settings=settings)
        async with (
            serve(client) as address,
            httpx.AsyncClient(base_url=address.url, trust_env=False) as http,
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
        httpx.AsyncClient(base_url=address.url, trust_env=False) as http,
    ):
        reply = await http.get("/readyz")

    assert reply.status_code == 503
    assert "evalqueue migrate" in reply.json()["detail"]


async def test_a_current_database_is_ready(api: httpx.AsyncClient) -> None:
    reply = await api.get("/readyz")

    assert (reply.status_code, reply.json()["status"]) == (200, "ready")
