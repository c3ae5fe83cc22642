"""The caller's trace: the header `traceparent` goes with the jobs that a request submits."""

import httpx
import pytest

from evalqueue.postgres.database import Database

SOUND = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
JOB = {"job_type": "note", "params": {}}


async def traceparents(database: Database) -> list[str | None]:
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT traceparent FROM jobs ORDER BY created_at")
        return [found for (found,) in await cursor.fetchall()]


async def test_a_job_has_the_trace_of_the_request_that_submitted_it(
    api: httpx.AsyncClient, database: Database
):
    for headers in ({"traceparent": SOUND}, {"Traceparent": OTHER}, {}):
        response = await api.post("/api/jobs", json=JOB, headers=headers)
        assert response.status_code == 201, response.text

    assert await traceparents(database) == [SOUND, OTHER, None]


async def test_a_retry_stays_in_the_trace_of_its_job(api: httpx.AsyncClient, database: Database):
    job = (await api.post("/api/jobs", json=JOB, headers={"traceparent": SOUND})).json()
    await api.post(f"/api/jobs/{job['id']}/cancel")
    response = await api.post(f"/api/jobs/{job['id']}/retry", headers={"traceparent": OTHER})

    assert response.status_code == 201, response.text
    assert await traceparents(database) == [SOUND, SOUND]


@pytest.mark.parametrize(
    "headers",
    [
        [("traceparent", "nonsense")],
        [("traceparent", SOUND), ("traceparent", OTHER)],
        [("traceparent", "\xff\xfe'; DROP TABLE jobs")],
        [("traceparent", "0" * 10_000)],
    ],
    ids=range(4),
)
async def test_a_malformed_header_is_ignored(
    api: httpx.AsyncClient, database: Database, headers: list[tuple[str, str]]
):
    raw = [(name.encode(), text.encode("latin-1")) for name, text in headers]
    response = await api.post("/api/jobs", json=JOB, headers=raw)

    assert response.status_code == 201, response.text
    assert await traceparents(database) == [None]
