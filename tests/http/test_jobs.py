"""Jobs over HTTP: submitting, listing, reading, cancelling, and the error responses."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
from tests.http.conftest import PATIENCE

from evalqueue import Handlers, JobContext, JobFailed, JobParams
from evalqueue.postgres.database import Database
from evalqueue.testing import run_jobs

JOB_KEYS = [
    "id", "job_type", "status", "params", "result", "progress", "error_message",
    "created_at", "started_at", "completed_at",
]  # fmt: skip


async def submit(api: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    reply = await api.post("/api/jobs", json={"job_type": "note", "params": params})
    assert reply.status_code == 201, reply.text
    return reply.json()


async def post_body(api: httpx.AsyncClient, body: bytes | str, **headers: str) -> httpx.Response:
    return await api.post(
        "/api/jobs", content=body, headers={"Content-Type": "application/json"} | headers
    )


async def jobs_stored(database: Database) -> int:
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM jobs")
        row = await cursor.fetchone()
    assert row is not None
    return row[0]


async def test_the_response_to_a_submission_has_its_first_four_keys(api: httpx.AsyncClient) -> None:
    reply = await api.post("/api/jobs", json={"job_type": "note", "params": {"text": "hello"}})

    assert reply.status_code == 201
    assert reply.headers["content-type"] == "application/json"
    payload = reply.json()
    assert list(payload)[:4] == ["id", "job_type", "status", "created_at"]
    assert UUID(payload["id"])
    assert (payload["job_type"], payload["status"], payload["run_id"]) == ("note", "queued", None)
    assert datetime.fromisoformat(payload["created_at"]).tzinfo is not None


async def test_params_may_be_left_out(api: httpx.AsyncClient) -> None:
    reply = await api.post("/api/jobs", json={"job_type": "note"})

    assert reply.status_code == 201
    assert (await api.get(f"/api/jobs/{reply.json()['id']}")).json()["params"] == {}


async def test_an_evaluation_has_its_run_from_the_start(api: httpx.AsyncClient) -> None:
    body = {"job_type": "evaluate-test", "params": {"app_id": "kaira-bot"}}

    payload = (await api.post("/api/jobs", json=body)).json()

    job = (await api.get(f"/api/jobs/{payload['id']}")).json()
    run = (await api.get(f"/api/eval-runs/{payload['run_id']}")).json()
    assert job["progress"]["run_id"] == payload["run_id"] == run["id"]
    assert (run["job_id"], run["status"], run["app_id"]) == (payload["id"], "pending", "kaira-bot")


async def test_a_job_has_the_ten_keys_clients_know_and_more_after_them(
    api: httpx.AsyncClient,
) -> None:
    payload = await submit(api, text="hello")

    job = (await api.get(f"/api/jobs/{payload['id']}")).json()

    assert list(job)[:10] == JOB_KEYS
    assert list(job)[10:] == [
        "owner", "attempt", "max_attempts", "failed_attempts", "queue", "priority", "scheduled_at",
        "worker", "retry_of", "after", "revision", "ahead", "name", "run_id", "continued_by",
        "retryable",
    ]  # fmt: skip
    assert job["params"] == {"text": "hello"}
    assert job["progress"] == {"current": 0, "total": 0, "message": ""}
    unknown = ("result", "error_message", "started_at", "completed_at")
    assert [job[key] for key in unknown] == [None] * 4


async def test_jobs_are_listed_newest_first_as_a_bare_array(api: httpx.AsyncClient) -> None:
    ids = [(await submit(api, text=str(number)))["id"] for number in range(5)]

    listed = (await api.get("/api/jobs")).json()
    page = (await api.get("/api/jobs", params={"limit": 2, "offset": 1})).json()

    assert [job["id"] for job in listed] == ids[::-1]
    assert [job["id"] for job in page] == [ids[3], ids[2]]


async def test_a_page_of_jobs_has_twenty_by_default(
    api: httpx.AsyncClient, database: Database
) -> None:
    async with database.connection() as connection:
        await connection.execute("SELECT evalqueue_submit_job('note') FROM generate_series(1, 105)")

    assert len((await api.get("/api/jobs")).json()) == 20
    assert len((await api.get("/api/jobs", params={"limit": 100})).json()) == 100


async def test_jobs_are_filtered_by_status_and_type(api: httpx.AsyncClient) -> None:
    note = (await submit(api))["id"]
    gone = (await submit(api))["id"]
    body = {"job_type": "evaluate-test", "params": {"app_id": "x"}}
    run = (await api.post("/api/jobs", json=body)).json()["id"]
    await api.post(f"/api/jobs/{gone}/cancel")

    async def ids(**query: str) -> list[str]:
        return [job["id"] for job in (await api.get("/api/jobs", params=query)).json()]

    assert await ids(status="cancelled") == [gone]
    assert await ids(status="queued") == [run, note]
    assert await ids(status="queued", job_type="note") == [note]
    assert await ids(job_type="unknown-type") == []
    assert await ids(job_type="nu\x00ll") == []
    assert await ids(status="") == [run, gone, note]


async def test_an_impossible_query_value_is_named(api: httpx.AsyncClient) -> None:
    for name, value in (
        ("status", "foo"), ("limit", "0"), ("limit", "101"), ("limit", "abc"), ("offset", "-1"),
        ("offset", "99999999999999999999"), ("job_type", "x" * 51),
    ):  # fmt: skip
        reply = await api.get("/api/jobs", params={name: value})

        assert reply.status_code == 422
        (problem,) = reply.json()["detail"]
        assert problem["loc"] == ["query", name]
        assert problem["msg"]
        assert problem["type"]


async def test_an_unknown_job_is_not_found(api: httpx.AsyncClient) -> None:
    for reply in (
        await api.get(f"/api/jobs/{uuid4()}"),
        await api.post(f"/api/jobs/{uuid4()}/cancel"),
        await api.post(f"/api/jobs/{uuid4()}/retry"),
        await api.get(f"/api/jobs/{uuid4()}/attempts"),
    ):
        assert (reply.status_code, reply.json()) == (404, {"detail": "Job not found"})


async def test_an_id_that_is_no_uuid_is_named(api: httpx.AsyncClient) -> None:
    for reply in (
        await api.get("/api/jobs/17"),
        await api.get("/api/jobs/%00"),
        await api.post("/api/jobs/seventeen/cancel"),
    ):
        assert reply.status_code == 422
        assert [problem["loc"] for problem in reply.json()["detail"]] == [["path", "job_id"]]


async def test_a_cancelled_job_stays_cancelled(api: httpx.AsyncClient) -> None:
    job_id = (await submit(api))["id"]

    first = await api.post(f"/api/jobs/{job_id}/cancel")
    second = await api.post(f"/api/jobs/{job_id}/cancel")

    assert (first.status_code, first.json()) == (200, {"id": job_id, "status": "cancelled"})
    assert second.status_code == 400
    assert second.json() == {"detail": "Cannot cancel job in 'cancelled' state"}
    job = (await api.get(f"/api/jobs/{job_id}")).json()
    assert job["status"] == "cancelled"
    assert job["completed_at"] is not None


async def test_an_unknown_job_type_is_refused_with_those_that_are_known(
    api: httpx.AsyncClient, database: Database
) -> None:
    reply = await api.post("/api/jobs", json={"job_type": "nope", "params": {}})

    assert reply.status_code == 422
    (problem,) = reply.json()["detail"]
    assert problem["loc"] == ["body", "job_type"]
    assert problem["msg"] == "Unknown job_type: nope. Known: broken, evaluate-test, note"
    assert await jobs_stored(database) == 0


REFUSED_BODIES: list[tuple[Any, list[str]]] = [
    ({}, ["body", "job_type"]),
    ({"params": {}}, ["body", "job_type"]),
    ({"job_type": 5}, ["body", "job_type"]),
    ({"job_type": ""}, ["body", "job_type"]),
    ({"job_type": "x" * 51}, ["body", "job_type"]),
    ({"job_type": "note", "params": []}, ["body", "params"]),
    ({"job_type": "note", "params": None}, ["body", "params"]),
    ({"job_type": "note", "parms": {}}, ["body", "parms"]),
    ({"job_type": "note", "params": {"weight": -1}}, ["body", "params", "weight"]),
    ({"job_type": "note", "params": {"weight": True}}, ["body", "params", "weight"]),
    ({"job_type": "note", "params": {"wait": 1}}, ["body", "params", "wait"]),
    ({"job_type": "evaluate-test"}, ["body", "params", "app_id"]),
    (
        {"job_type": "evaluate-test", "params": {"app_id": "x", "data_path": "missing.csv"}},
        ["body", "params", "data_path"],
    ),
    ([], ["body"]),
    ("text", ["body"]),
    (None, ["body"]),
]


async def test_what_is_wrong_with_a_body_is_named_and_nothing_is_stored(
    api: httpx.AsyncClient, database: Database
) -> None:
    for body, loc in REFUSED_BODIES:
        reply = await post_body(api, json.dumps(body))

        assert reply.status_code == 422, body
        (problem,) = reply.json()["detail"]
        assert problem["loc"] == loc
        assert problem["msg"]
    assert await jobs_stored(database) == 0


async def test_everything_that_is_wrong_is_named_at_once(api: httpx.AsyncClient) -> None:
    body = {"job_type": "note", "params": {"text": 1, "weight": -1, "more": 1}}

    reply = await api.post("/api/jobs", json=body)

    found = {problem["loc"][-1] for problem in reply.json()["detail"]}
    assert found == {"text", "weight", "more"}


NOT_JSON = [
        b"", b"{", b"nonsense", b'{"job_type": "note",}', b'\xff\xfe{"job_type": "note"}',
        b'{"job_type": "note", "params": {"weight": NaN}}',
        b'{"job_type": "note", "params": {"weight": 1e999}}',
        b'{"job_type": "note", "params": {"anything": -Infinity}}',
        b'{"job_type": "note", "params": {"anything": ' + b"9" * 5000 + b"}}",
        b'{"job_type": "note", "params": {"text": "\x00"}}',
        b'{"job_type": "note", "params": {"text": "\xed\xa0\xbd"}}',
]  # fmt: skip


async def test_a_body_that_is_not_json_is_refused(api: httpx.AsyncClient) -> None:
    for body in NOT_JSON:
        reply = await post_body(api, body)

        assert reply.status_code == 422, body
        assert [problem["loc"] for problem in reply.json()["detail"]] == [["body"]]


async def test_a_key_that_is_there_twice_is_refused_by_its_name(
    api: httpx.AsyncClient, database: Database
) -> None:
    long = "k" * 200
    for body, key in (
        ('{"job_type": "note", "job_type": "note"}', "job_type"),
        ('{"job_type": "note", "params": {"text": "a", "weight": 1, "text": "b"}}', "text"),
        ('{"job_type": "note", "params": {"anything": [{"\\u0061": 1, "a": 2}]}}', "a"),
        (f'{{"job_type": "note", "{long}": 1, "{long}": 2}}', "k" * 99 + "…"),
    ):
        reply = await post_body(api, body)

        assert reply.status_code == 422, body
        (problem,) = reply.json()["detail"]
        assert problem["msg"] == f"The key {key!r} is there twice: keep one"
    assert await jobs_stored(database) == 0


async def test_a_body_nested_without_end_is_refused(api: httpx.AsyncClient) -> None:
    for depth in (99, 2_000, 500_000):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            nested = opening * depth + "1" + closing * depth

            reply = await post_body(
                api, f'{{"job_type": "note", "params": {{"anything": {nested}}}}}'
            )

            assert reply.status_code == 422
            assert reply.json()["detail"][0]["msg"] == "Nested deeper than 100 levels"


async def test_a_body_nested_deep_enough_is_stored_as_it_is(api: httpx.AsyncClient) -> None:
    nested = "[" * 98 + '"%s"' + "]" * 98  # with the body and its params: 100 levels
    body = '{"job_type": "note", "params": {"anything": %s}}' % (nested % r"\ud800")

    payload = (await post_body(api, body)).json()

    stored = (await api.get(f"/api/jobs/{payload['id']}")).json()["params"]["anything"]
    assert json.dumps(stored, ensure_ascii=False) == nested % "�"


async def test_text_that_postgres_cannot_take_is_replaced_visibly(api: httpx.AsyncClient) -> None:
    body = (
        r'{"job_type": "note", "params": {"text": "nul \u0000 half \ud83d whole \ud83d\ude00", '
        r'"anything": {"k\u0000ey": ["\udc00"]}}}'
    )

    reply = await post_body(api, body)

    assert reply.status_code == 201, reply.text
    params = (await api.get(f"/api/jobs/{reply.json()['id']}")).json()["params"]
    assert params == {"text": "nul � half � whole 😀", "anything": {"k�ey": ["�"]}}


async def test_hostile_names_are_refused_and_returned_as_text(api: httpx.AsyncClient) -> None:
    for body, loc in (
        (r'{"job_type": "no\u0000te"}', ["body", "job_type"]),
        (r'{"job_type": "\ud800"}', ["body", "job_type"]),
        (r'{"job_type": "note", "\ud800": 1}', ["body", "�"]),
        (r'{"job_type": "note", "params": {"\u0000": 1}}', ["body", "params", "�"]),
    ):
        reply = await post_body(api, body)
        assert reply.status_code == 422
        assert [problem["loc"] for problem in reply.json()["detail"]] == [loc]


async def test_a_body_must_say_that_it_is_json(api: httpx.AsyncClient) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        reply = await post_body(api, '{"job_type": "note"}', **{"Content-Type": content_type})

        assert reply.status_code == 415
        assert "Content-Type: application/json" in reply.json()["detail"]


async def test_a_charset_and_a_byte_order_mark_do_no_harm(api: httpx.AsyncClient) -> None:
    body = '{"job_type": "note"}'.encode("utf-8-sig")

    reply = await post_body(api, body, **{"Content-Type": "Application/JSON; charset=utf-8"})

    assert reply.status_code == 201


class TypeScriptClient:
    """The calls of the front end's `jobsApi`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def _request(self, path: str, method: str = "GET", body: str | None = None) -> Any:
        reply = await self._http.request(
            method, path, content=body, headers={"Content-Type": "application/json"}
        )
        reply.raise_for_status()
        return reply.json()

    async def submit(self, job_type: str, params: dict[str, Any]) -> Any:
        body = json.dumps({"job_type": job_type, "params": params}, separators=(",", ":"))
        return await self._request("/api/jobs", "POST", body)

    async def list(self, status: str | None = None) -> Any:
        return await self._request(f"/api/jobs{f'?status={status}' if status else ''}")

    async def get(self, job_id: str) -> Any:
        return await self._request(f"/api/jobs/{job_id}")

    async def cancel(self, job_id: str) -> None:
        await self._request(f"/api/jobs/{job_id}/cancel", "POST")

    async def poll_until_done(
        self, job_id: str, on_progress: Callable[[Any], None], interval_seconds: float
    ) -> Any:
        while True:
            job = await self.get(job_id)
            on_progress(job)
            if job["status"] in ("completed", "failed", "cancelled"):
                return job
            await asyncio.sleep(interval_seconds)


async def test_the_typescript_client_submits_polls_and_reads_the_result(
    api: httpx.AsyncClient, dsn: str
) -> None:
    handlers = Handlers()

    class Words(JobParams, job_type="note"):
        text: str = ""

    @handlers.handles(Words)
    async def note(context: JobContext, params: Words) -> dict[str, Any]:
        if not params.text:
            raise JobFailed("Nothing to note")
        context.progress(1, 1, "Noted", shelf="upper")
        return {"length": len(params.text)}

    client = TypeScriptClient(api)
    good = await client.submit("note", {"text": "hello"})
    bad = await client.submit("note", {})
    gone = await client.submit("note", {})
    await client.cancel(gone["id"])
    assert {job["id"] for job in await client.list("queued")} == {good["id"], bad["id"]}

    seen: list[Any] = []
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        polling = tasks.create_task(client.poll_until_done(good["id"], seen.append, 0.02))
        await run_jobs(dsn, handlers)

    job = polling.result()
    assert job == seen[-1]
    assert job["status"] == "completed"
    assert job["result"] == {"length": 5}
    assert job["progress"] == {"current": 1, "total": 1, "message": "Noted", "shelf": "upper"}
    assert job["created_at"] <= job["started_at"] <= job["completed_at"]
    assert (job["attempt"], job["error_message"]) == (1, None)
    failed = await client.get(bad["id"])
    assert (failed["status"], failed["error_message"]) == ("failed", "Nothing to note")
    assert len(await client.list()) == 3
    assert [job["id"] for job in await client.list("cancelled")] == [gone["id"]]


async def post_with_key(api: httpx.AsyncClient, key: str | bytes, **params: Any) -> httpx.Response:
    return await api.post(
        "/api/jobs",
        json={"job_type": "note", "params": params},
        headers={"Idempotency-Key": key},
    )


async def test_the_same_key_is_the_same_job_however_often_it_is_sent(
    api: httpx.AsyncClient, database: Database
) -> None:
    async with asyncio.TaskGroup() as tasks:
        sent = [tasks.create_task(post_with_key(api, "order 7", text="a")) for _ in range(5)]
    replies = [each.result() for each in sent]

    other = await post_with_key(api, "order 8", text="a")

    assert {reply.status_code for reply in (*replies, other)} == {201}
    assert len({reply.json()["id"] for reply in replies}) == 1
    assert other.json()["id"] != replies[0].json()["id"]
    assert await jobs_stored(database) == 2


async def test_a_key_of_another_request_is_refused_with_the_job_it_belongs_to(
    api: httpx.AsyncClient, database: Database
) -> None:
    first = (await post_with_key(api, "order 7", text="a")).json()

    refused = await post_with_key(api, "order 7", text="b")

    assert refused.status_code == 409
    assert first["id"] in refused.json()["detail"]
    assert "new key" in refused.json()["detail"]
    assert await jobs_stored(database) == 1


async def test_a_key_that_can_not_be_one_is_named(
    api: httpx.AsyncClient, database: Database
) -> None:
    for key in (b"", b"x" * 256, "schlüssel".encode("latin-1"), b"tab\there"):
        refused = await post_with_key(api, key)

        assert refused.status_code == 422, key
        assert [each["loc"] for each in refused.json()["detail"]] == [["header", "Idempotency-Key"]]
    assert await jobs_stored(database) == 0


async def test_the_key_is_taken_from_its_header_alone(api: httpx.AsyncClient) -> None:
    reply = await api.post("/api/jobs", json={"job_type": "note", "idempotency_key": "k"})

    assert reply.status_code == 422
    (problem,) = reply.json()["detail"]
    assert problem["loc"] == ["body", "idempotency_key"]
    assert "Idempotency-Key" in problem["msg"]


async def test_a_cancelled_evaluation_is_continued_by_a_new_job_in_the_same_run(
    api: httpx.AsyncClient,
) -> None:
    body = {"job_type": "evaluate-test", "params": {"app_id": "kaira-bot"}}
    first = (await api.post("/api/jobs", json=body)).json()
    too_early = await api.post(f"/api/jobs/{first['id']}/retry")
    await api.post(f"/api/jobs/{first['id']}/cancel")

    retried = await api.post(f"/api/jobs/{first['id']}/retry")
    again = await api.post(f"/api/jobs/{first['id']}/retry")

    assert too_early.status_code == 409
    assert "only what is over can be retried" in too_early.json()["detail"]
    assert retried.status_code == again.status_code == 201
    assert again.json()["id"] == retried.json()["id"] != first["id"]
    assert retried.json()["retry_of"] == first["id"]
    assert retried.json()["run_id"] == first["run_id"]
    assert retried.json()["status"] == "queued"
    job = (await api.get(f"/api/jobs/{retried.json()['id']}")).json()
    assert (job["retry_of"], job["params"]) == (first["id"], {"app_id": "kaira-bot"})


async def test_a_job_says_when_and_after_what_it_may_start(
    api: httpx.AsyncClient, database: Database
) -> None:
    first = (await submit(api))["id"]
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT evalqueue_submit_job('note', after => %s, priority => 5, queue => 'nightly'),"
            " evalqueue_submit_job('note', scheduled_at => '2100-01-01 00:00+00')",
            [first],
        )
        row = await cursor.fetchone()
    assert row is not None

    plain, follower, scheduled = [
        (await api.get(f"/api/jobs/{job_id}")).json() for job_id in (first, *row)
    ]

    assert (plain["scheduled_at"], plain["after"]) == (None, None)
    assert (follower["after"], follower["queue"], follower["priority"]) == (first, "nightly", 5)
    assert follower["scheduled_at"] is not None
    assert scheduled["scheduled_at"] == "2100-01-01T00:00:00+00:00"


async def test_a_job_lists_its_attempts(api: httpx.AsyncClient, database: Database) -> None:
    job_id = (await submit(api))["id"]
    none = await api.get(f"/api/jobs/{job_id}/attempts")
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO job_attempts VALUES (%s, 1, 'w@here:1/1', now() - interval '3 s', now(),"
            " 'retried', 'no tea'), (%s, 2, 'w@here:1/1', now(), NULL, NULL, NULL)",
            [job_id, job_id],
        )

    first, second = (await api.get(f"/api/jobs/{job_id}/attempts")).json()

    assert (none.status_code, none.json()) == (200, [])
    assert (first["attempt"], first["outcome"], first["error"]) == (1, "retried", "no tea")
    assert (first["worker"], first["duration_seconds"]) == ("w@here:1/1", 3.0)
    assert (second["ended_at"], second["duration_seconds"], second["outcome"]) == (None,) * 3
