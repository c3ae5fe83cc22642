"""`GET /metrics` of the API: who may read it, and what it says of requests and streams."""

import asyncio

import httpx
from scraping import parsed, summed, value
from tests.http.conftest import ENTRIES, PATIENCE, TOKENS, ServeApi, bearer

from evalqueue.metrics.process import ProcessMetrics
from evalqueue.metrics.registry import Metrics
from evalqueue.postgres.database import Database
from evalqueue.postgres.listener import Listener

COUNTED = ("route", "method", "status")


async def test_on_loopback_without_tokens_it_is_open(api: httpx.AsyncClient):
    reply = await api.get("/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert value(parsed(reply.text), "evalqueue_database_up") == 1


async def test_with_tokens_it_needs_the_right_to_read(serve_api: ServeApi):
    async with serve_api(api_tokens=ENTRIES) as api:
        refused = await api.get("/metrics")
        wrong = await api.get("/metrics", headers=bearer("wrong"))
        read = await api.get("/metrics", headers=bearer(TOKENS["rita"]))
    assert [refused.status_code, wrong.status_code, read.status_code] == [401, 401, 200]


async def test_requests_are_counted_by_the_template_of_their_route(api: httpx.AsyncClient):
    job = (await api.post("/api/jobs", json={"job_type": "note"})).json()
    for path in (f"/api/jobs/{job['id']}", "/api/jobs/17", f"/api/jobs/{job['id']}", "/nowhere/1"):
        await api.get(path)
    await api.request("BREW", "/api/jobs")
    await api.post("/api/jobs", json={"job_type": "broken"})
    figures = parsed((await api.get("/metrics")).text)
    counted = summed([figures], "evalqueue_http_requests_total", *COUNTED)

    assert counted == {
        ("/api/jobs", "POST", "2xx"): 1,
        ("/api/jobs/{job_id}", "GET", "2xx"): 2,
        ("/api/jobs/{job_id}", "GET", "4xx"): 1,
        ("other", "GET", "4xx"): 1,
        ("/api/jobs", "other", "4xx"): 1,
        ("/api/jobs", "POST", "5xx"): 1,
    }


async def test_what_a_guard_refuses_is_counted_without_a_route(serve_api: ServeApi):
    async with serve_api(api_tokens=ENTRIES) as api:
        for number in range(3):
            await api.get(f"/api/jobs/{number}")
        text = (await api.get("/metrics", headers=bearer(TOKENS["ada"]))).text
    counted = summed([parsed(text)], "evalqueue_http_requests_total", *COUNTED)
    assert counted == {("other", "GET", "4xx"): 3}


async def test_open_streams_are_counted_and_timed_to_their_beginning(api: httpx.AsyncClient):
    async with api.stream("GET", "/api/events") as stream:
        assert stream.status_code == 200
        during = parsed((await api.get("/metrics")).text)
    async with asyncio.timeout(PATIENCE):
        while value(parsed((await api.get("/metrics")).text), "evalqueue_watchers") != 0:
            await asyncio.sleep(0.02)

    assert value(during, "evalqueue_watchers") == 1
    began = value(
        during, "evalqueue_http_response_seconds_count", route="/api/events", method="GET"
    )
    assert began == 1


async def test_notifications_are_not_called_missing_before_the_first_proof(database: Database):
    metrics = Metrics()
    process = ProcessMetrics(metrics)
    async with Listener(database, []) as listener:
        process.listener = listener
        assert b"evalqueue_notifications_connected" not in metrics.expose()
        await listener.wait_for_proof()
        assert b"evalqueue_notifications_connected 1.0" in metrics.expose()


async def test_the_process_tells_of_its_own_connections(api: httpx.AsyncClient):
    async with asyncio.timeout(PATIENCE):
        while True:
            figures = parsed((await api.get("/metrics")).text)
            if value(figures, "evalqueue_notifications_connected") == 1:
                break
            await asyncio.sleep(0.02)
    assert value(figures, "evalqueue_pool_connections_max") == 10
    assert value(figures, "evalqueue_notifications_probe_age_seconds") is not None
