"""Queues and workers over HTTP."""

from datetime import datetime

import httpx
import pytest

from evalqueue import Handlers, JobContext, JobParams
from evalqueue.postgres.database import Database
from evalqueue.testing import run_jobs


class Note(JobParams, job_type="note"):
    text: str = ""


def handlers() -> Handlers:
    found = Handlers()

    @found.handles(Note)
    async def note(context: JobContext, params: Note) -> dict[str, int]:
        return {"length": len(params.text)}

    return found


async def submit(api: httpx.AsyncClient) -> str:
    return (await api.post("/api/jobs", json={"job_type": "note"})).json()["id"]


async def status_of(api: httpx.AsyncClient, job_id: str) -> str:
    return (await api.get(f"/api/jobs/{job_id}")).json()["status"]


async def test_a_paused_queue_starts_nothing_until_it_is_resumed(
    api: httpx.AsyncClient, dsn: str
) -> None:
    job_id = await submit(api)

    paused = await api.post("/api/queues/evalqueue/pause")
    await run_jobs(dsn, handlers())
    (held,) = (await api.get("/api/queues")).json()
    assert await status_of(api, job_id) == "queued"

    resumed = await api.post("/api/queues/evalqueue/resume")
    await run_jobs(dsn, handlers())
    assert await status_of(api, job_id) == "completed"

    assert paused.json() == {"name": "evalqueue", "paused": True, "is_known": True}
    assert resumed.json() == {"name": "evalqueue", "paused": False, "is_known": True}

    assert (held["name"], held["due"], held["running"], held["later"]) == ("evalqueue", 1, 0, 0)
    assert held["oldest_waits_seconds"] >= 0
    assert datetime.fromisoformat(held["paused_at"]).tzinfo is not None


async def test_a_queue_that_is_not_there_yet_is_paused_and_said_to_be_new(
    api: httpx.AsyncClient,
) -> None:
    for action, is_known in (("resume", False), ("pause", False), ("pause", True)):
        reply = await api.post(f"/api/queues/nihgtly/{action}")
        assert (reply.status_code, reply.json()["is_known"]) == (200, is_known)


@pytest.mark.parametrize("sent", ["%00", "%20", "a%0Ab", "a%E2%80%AEb"])
async def test_a_queue_name_is_one_line_that_can_be_seen(api: httpx.AsyncClient, sent: str) -> None:
    reply = await api.post(f"/api/queues/{sent}/pause")
    assert (reply.status_code, reply.json()["detail"][0]["loc"]) == (422, ["path", "queue"])


async def test_a_queue_name_may_be_anything_that_fits_into_a_path(api: httpx.AsyncClient) -> None:
    for sent, name in (("night%20run", "night run"), ("a%3Bb", "a;b")):
        reply = await api.post(f"/api/queues/{sent}/pause")
        assert (reply.status_code, reply.json()["name"]) == (200, name)

    reply = await api.post(f"/api/queues/{'q' * 41}/pause")

    assert reply.status_code == 422
    assert reply.json()["detail"][0]["loc"] == ["path", "queue"]


async def test_workers_are_listed_with_what_they_do(
    api: httpx.AsyncClient, database: Database
) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "SELECT evalqueue_register_worker('w', 'here', 7, '0.1', '{nightly}', '{note}', 4)"
        )
        await connection.execute("SELECT evalqueue_lead((SELECT name FROM job_workers), 600)")

    (worker,) = (await api.get("/api/workers")).json()

    assert worker["name"].startswith("w@here:7/")
    assert (worker["host"], worker["pid"], worker["slots"]) == ("here", 7, 4)
    assert (worker["queues"], worker["job_types"]) == (["nightly"], ["note"])
    assert 0 <= worker["silent_for_seconds"] < 60
    assert worker["is_leader"]
    (queue,) = (await api.get("/api/queues")).json()
    assert (queue["name"], queue["oldest_waits_seconds"]) == ("nightly", None)
