"""Datasets over HTTP: uploads, error responses, visibility, and previews of a batch."""

import asyncio
import gzip
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from evalqueue import Client, Settings
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.formats.csv import COLUMNS
from evalqueue.evaluators.simulated.conversations import kaira_csv, sample_csv
from evalqueue.http.callers import ApiCaller, Right
from evalqueue.http.guards import origins
from evalqueue.http.routes import datasets as http_datasets
from evalqueue.http.server import serve
from evalqueue.postgres.database import Database

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
HEADER = ",".join(COLUMNS[:8])
GOOD = "t1,u1,s1,2 idli,Noted,FoodAgent,2025-11-01T08:00:00Z,0"
BAD = GOOD.replace("2025", "never")
CONTENT = f"{HEADER}\n{GOOD}\n".encode()
NONE = "sha256:" + "0" * 64


@pytest.fixture
def serve_api(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServeApi:
    """Serve the API with some settings; yields a client with a caller's token."""
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    data = tmp_path / "data"
    data.mkdir()
    (data / "good.csv").write_bytes(CONTENT)
    (data / "bad.csv").write_text(f"{HEADER}\n{BAD}\n")

    @asynccontextmanager
    async def serving(
        caller: ApiCaller = origins.LOCAL_CALLER, **settings: Any
    ) -> AsyncGenerator[httpx.AsyncClient]:
        monkeypatch.setattr(origins, "LOCAL_CALLER", caller)
        client = Client(
            job_types=[EvaluateBatch],
            settings=Settings(**{"port": 0, "data_dir": data} | settings),
            database=database,
        )
        async with (
            serve(client) as address,
            httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=60) as http,
        ):
            yield http

    return serving


@pytest.fixture
async def api(serve_api: ServeApi) -> AsyncGenerator[httpx.AsyncClient]:
    async with serve_api() as http:
        yield http


async def upload(
    http: httpx.AsyncClient, content: bytes = CONTENT, name: str = "june.csv", **fields: Any
) -> httpx.Response:
    return await http.post("/api/datasets", files={"file": (name, content)}, data=fields)


async def preview(
    http: httpx.AsyncClient, content: bytes, name: str = "june.csv", **fields: Any
) -> Any:
    reply = await http.post("/api/eval-runs/preview", files={"file": (name, content)}, data=fields)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def stored(database: Database) -> int:
    """The number of rows in all tables that an upload writes."""
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT count(*) FROM datasets) + (SELECT count(*) FROM dataset_threads)"
            " + (SELECT count(*) FROM dataset_owners)"
        )
        return (await cursor.fetchone() or (0,))[0]


# Uploads.


async def test_a_file_becomes_a_dataset_and_is_there_the_second_time(api: httpx.AsyncClient):
    content = kaira_csv().read_bytes()
    first = await upload(api, content, "kaira.csv")
    second = await upload(api, content, "kaira.csv")

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    dataset = first.json()
    assert dataset["id"] == f"sha256:{sha256(content).hexdigest()}"
    assert (dataset["name"], dataset["format"], dataset["owner"]) == ("kaira.csv", "csv", "default")
    assert (dataset["threads"], dataset["size_bytes"]) == (48, len(content))
    assert list(dataset["intents"].values()) == sorted(dataset["intents"].values(), reverse=True)
    assert (await api.get("/api/datasets")).json() == [dataset]
    assert (await api.get(f"/api/datasets/{dataset['id']}")).json() == dataset


async def test_the_same_file_from_many_at_once_is_stored_once(
    api: httpx.AsyncClient, database: Database
):
    content = kaira_csv().read_bytes()
    replies = await asyncio.gather(*(upload(api, content) for _ in range(6)))

    assert sorted(reply.status_code for reply in replies) == [200] * 5 + [201]
    assert await stored(database) == 1 + 48 + 1


async def test_conversations_are_listed_page_by_page(api: httpx.AsyncClient):
    dataset_id = (await upload(api, kaira_csv().read_bytes())).json()["id"]
    path = f"/api/datasets/{dataset_id}/threads"
    first = (await api.get(path, params={"limit": 30})).json()
    second = (await api.get(path, params={"limit": 30, "after": 30})).json()

    assert (first["total"], second["total"], first["dataset_id"]) == (48, 48, dataset_id)
    positions = [each["position"] for each in first["threads"] + second["threads"]]
    assert positions == list(range(1, 49))
    assert all(each["opening"] and each["messages"] for each in first["threads"])


async def test_a_mapping_a_name_and_a_format_may_come_along(api: httpx.AsyncClient):
    theirs = CONTENT.replace(b"thread_id", b"chat")
    mapping = {"thread_id": "chat", "user_id": "user_id"}
    reply = await upload(api, theirs, name="x", mapping=json.dumps(mapping), format="csv")
    named = await api.post(
        "/api/datasets", files={"file": ("x", CONTENT)}, data={"name": "June", "format": ""}
    )

    assert reply.status_code == 201
    assert reply.json()["mapping"] == {"thread_id": "chat"}
    assert named.json()["name"] == "June"
    assert named.json()["mapping"] is None


async def test_chat_messages_as_json_lines_are_read(api: httpx.AsyncClient):
    line = {"id": "c1", "messages": [
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"},
    ]}  # fmt: skip
    dataset = (await upload(api, json.dumps(line).encode(), "chats.jsonl")).json()

    assert (dataset["format"], dataset["threads"], dataset["messages"]) == ("jsonl", 1, 1)
    assert dataset["first_at"] is None, "the file has no times"


# Error responses.


async def test_every_bad_row_is_named_and_nothing_is_stored(
    api: httpx.AsyncClient, database: Database
):
    rows = [GOOD, BAD, GOOD.replace("t1", ""), BAD]
    reply = await upload(api, "\n".join([HEADER, *rows]).encode())

    assert reply.status_code == 422
    found = reply.json()["detail"]
    assert all((each["loc"], each["type"]) == (["body", "file"], "bad_row") for each in found)
    where = [(each["ctx"]["file"], each["ctx"]["row"], each["ctx"]["column"]) for each in found]
    assert where == [
        ("june.csv", 3, "timestamp"), ("june.csv", 4, "thread_id"), ("june.csv", 5, "timestamp"),
    ]  # fmt: skip
    assert all(each["ctx"]["reason"] in each["msg"] for each in found)
    assert await stored(database) == 0


async def test_the_first_thousand_bad_rows_are_listed_and_the_rest_is_counted(
    api: httpx.AsyncClient, database: Database
):
    reply = await upload(api, "\n".join([HEADER, *[BAD] * 1_007]).encode())
    found = reply.json()["detail"]

    assert len(found) == 1_001
    assert found[-1]["msg"] == "… and 7 more bad rows"
    assert await stored(database) == 0


@pytest.mark.parametrize(
    ("fields", "files", "field"),
    [
        ({"mapping": "nonsense"}, {"file": CONTENT}, "mapping"),
        ({"mapping": '{"thread_id": 7}'}, {"file": CONTENT}, "mapping"),
        ({"mapping": '{"thread_id": "chat"}'}, {"file": CONTENT}, "file"),
        ({"format": "docx"}, {"file": CONTENT}, "format"),
        ({"date_order": "us"}, {"file": CONTENT}, "date_order"),
        ({"mask": "names"}, {"file": CONTENT}, "mask"),
        ({"mask_names": "Ann Lee\nA"}, {"file": CONTENT}, "mask_names"),
        ({"name": "n" * 501}, {"file": CONTENT}, "name"),
        ({"file": "not a file"}, {"mapping": b"{}"}, "file"),
        ({"name": "a"}, {"other": CONTENT}, "file"),
        ({"name": ["a", "b"]}, {"file": CONTENT}, "name"),
    ],
)
async def test_errors_of_a_form_name_the_field(
    api: httpx.AsyncClient,
    database: Database,
    fields: dict[str, Any],
    files: dict[str, bytes],
    field: str,
):
    reply = await api.post("/api/datasets", data=fields, files=files)

    assert reply.status_code == 422
    assert ["body", field] in [each["loc"][:2] for each in reply.json()["detail"]]
    assert await stored(database) == 0


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 415),
        ("text/csv", 415),
        ("multipart/form-data", 422),
        ("multipart/form-data; boundary=x", 422),
        ("multipart/form-data; boundary=y; charset=punycode", 422),
        ("multipart/form-data; boundary=y; charset=undefined", 422),
    ],
)
async def test_a_body_that_is_not_a_form_is_refused(
    api: httpx.AsyncClient, content_type: str, status: int
):
    reply = await api.post(
        "/api/datasets", content=b"--y\r\nnonsense", headers={"Content-Type": content_type}
    )

    assert reply.status_code == status


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_file_that_is_too_large_is_refused_at_once_or_while_it_arrives(
    serve_api: ServeApi, database: Database, is_told: bool
):
    limit = 100_000
    body = form_of(b"x" * (6 * 1024**2))

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    async with serve_api(max_dataset_bytes=limit, max_body_bytes=2048) as http:
        reply = await http.post(
            "/api/datasets",
            content=body if is_told else pieces(),
            headers={"Content-Type": "multipart/form-data; boundary=b"},
        )
        assert reply.status_code == 413
        assert "EVALQUEUE_MAX_DATASET_BYTES" in reply.json()["detail"]
        just_over = CONTENT + f"{GOOD}\n".encode() * (limit // len(GOOD))
        assert (await upload(http, just_over)).status_code == 413
        assert await stored(database) == 0
        just_under = just_over[: limit - 1]
        just_under = just_under[: just_under.rindex(b"\n")]
        assert (await upload(http, just_under)).status_code == 201, "whatever other bodies may be"


async def test_other_paths_take_no_large_forms(serve_api: ServeApi):
    async with serve_api(max_body_bytes=2048) as http:
        reply = await http.post("/api/jobs", files={"file": ("a", b"x" * 5_000)})

    assert reply.status_code == 413
    assert "EVALQUEUE_MAX_BODY_BYTES" in reply.json()["detail"]


def form_of(content: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    return head + content + b"\r\n--b--\r\n"


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing(
    api: httpx.AsyncClient, database: Database
):
    address = urlsplit(str(api.base_url))
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    body = form_of(CONTENT + f"{GOOD}\n".encode() * 40_000)
    writer.write(
        b"POST /api/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" % len(body)
    )
    writer.write(body[:-100])
    await writer.drain()
    writer.transport.abort()
    assert (await upload(api, b"nonsense")).status_code == 422, "it goes on serving"

    assert await stored(database) == 0


# Visibility.

ANN = ApiCaller(name="ann", right=Right.SUBMIT)
BOB = ApiCaller(name="bob", right=Right.SUBMIT)
ROOT = ApiCaller(name="root", right=Right.ADMIN)


async def test_a_caller_sees_what_they_have_and_an_administrator_all(
    serve_api: ServeApi, database: Database
):
    async with serve_api(ANN) as http:
        of_ann = (await upload(http)).json()["id"]
    async with serve_api(BOB) as http:
        of_bob = (await upload(http, CONTENT + GOOD.encode())).json()["id"]
        assert [each["id"] for each in (await http.get("/api/datasets")).json()] == [of_bob]
        for path in (f"/api/datasets/{of_ann}", f"/api/datasets/{of_ann}/threads"):
            assert (await http.get(path)).status_code == 404
        assert (await http.delete(f"/api/datasets/{of_ann}")).status_code == 404
        for path, body, loc in (
            ("/api/eval-runs/preview", {"dataset_id": of_ann}, ["body", "dataset_id"]),
            (
                "/api/jobs",
                {"job_type": "evaluate-batch", "params": {"dataset_id": of_ann}},
                ["body", "params", "dataset_id"],
            ),
        ):
            reply = await http.post(path, json=body)
            assert reply.status_code == 422
            assert reply.json()["detail"][0]["loc"] == loc
        assert (await upload(http)).status_code == 201, "who has the file may have the dataset"
        assert (await http.get(f"/api/datasets/{of_ann}")).json()["owner"] == "bob"
    async with serve_api(ROOT) as http:
        listed = (await http.get("/api/datasets")).json()
        assert {each["id"] for each in listed} == {of_ann, of_bob}
        assert len(listed) == 2
        reply = await http.post("/api/eval-runs/preview", json={"dataset_id": of_ann})
        assert reply.status_code == 200
    assert await stored(database) == 2 + 2 + 3


async def test_removing_affects_the_caller_s_and_the_content_is_deleted_with_the_last(
    serve_api: ServeApi, database: Database
):
    async with serve_api(ANN) as http:
        dataset_id = (await upload(http)).json()["id"]
    async with serve_api(BOB) as http:
        await upload(http)
        reply = await http.delete(f"/api/datasets/{dataset_id}")
        assert reply.json() == {"id": dataset_id, "deleted": True}
        assert (await http.delete(f"/api/datasets/{dataset_id}")).status_code == 404
    async with serve_api(ANN) as http:
        assert (await http.get(f"/api/datasets/{dataset_id}")).status_code == 200
        assert (await http.delete(f"/api/datasets/{dataset_id}")).status_code == 200

    assert await stored(database) == 0


async def test_what_a_job_reads_stays_until_it_is_over_and_what_a_run_names_longer(
    api: httpx.AsyncClient, database: Database
):
    dataset_id = (await upload(api)).json()["id"]
    body = {"job_type": "evaluate-batch", "params": {"dataset_id": dataset_id}}
    job = (await api.post("/api/jobs", json=body)).json()
    run = (await api.get(f"/api/eval-runs/{job['run_id']}")).json()
    assert run["dataset_id"] == dataset_id, "from the start"

    reply = await api.delete(f"/api/datasets/{dataset_id}")
    assert reply.status_code == 409
    await api.post(f"/api/jobs/{job['id']}/cancel")
    assert (await api.delete(f"/api/datasets/{dataset_id}")).status_code == 200
    assert (await api.get("/api/datasets")).json() == []
    async with database.connection() as connection:
        assert await datasets.thread(connection, dataset_id, "t1") is not None


# Previews.


async def test_a_preview_of_a_stored_dataset_counts_what_would_be_asked(
    api: httpx.AsyncClient, database: Database
):
    dataset_id = (await upload(api, kaira_csv().read_bytes())).json()["id"]
    before = await stored(database)
    params = {"dataset_id": dataset_id, "sample_size": 5, "evaluate_efficiency": False}
    previewed = (await api.post("/api/eval-runs/preview", json=params)).json()

    assert previewed["statistics"]["threads"] == 48
    assert previewed["chosen"]["threads"] == 5
    calls = previewed["llm_calls"]["evaluators"]
    assert calls["intent"] == previewed["chosen"]["messages"]
    assert 0 < calls["correctness"] < previewed["chosen"]["messages"]
    assert set(calls) == {"intent", "correctness"}
    assert previewed["llm_calls"]["total"] == sum(calls.values())
    assert (previewed["columns"], previewed["mapping"], previewed["missing_columns"]) == (
        [],
        {},
        [],
    )
    assert await stored(database) == before


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"sample_size": 7, "seed": 3},
        {"thread_ids": ["kc-003", "none", "kc-001"]},
        {"app_id": "retail-support"},
    ],
)
async def test_a_file_is_previewed_as_the_dataset_would_be_and_nothing_is_stored(
    api: httpx.AsyncClient, database: Database, params: dict[str, Any]
):
    content = kaira_csv().read_bytes()
    of_file = await preview(api, content, params=json.dumps(params))
    assert await stored(database) == 0
    dataset_id = (await upload(api, content)).json()["id"]
    reply = await api.post("/api/eval-runs/preview", json=params | {"dataset_id": dataset_id})

    of_dataset = reply.json()
    for key in ("statistics", "chosen", "llm_calls", "unknown_thread_ids", "bad_rows"):
        assert of_file[key] == of_dataset[key], key
    assert of_file["mapping"] == {column: column for column in COLUMNS}
    if "thread_ids" in params:
        assert of_file["unknown_thread_ids"] == [
            each for each in params["thread_ids"] if each == "none" or each not in all_ids()
        ]


def all_ids() -> set[str]:
    return {line.split(",")[0] for line in kaira_csv().read_text().splitlines()}


@pytest.mark.parametrize("source", [{"data_path": "good.csv"}, {"total_items": 9}])
async def test_other_sources_are_previewed_without_being_stored(
    api: httpx.AsyncClient, database: Database, source: dict[str, Any]
):
    previewed = (await api.post("/api/eval-runs/preview", json=source)).json()

    assert previewed["chosen"]["threads"] == source.get("total_items", 1)
    assert previewed["columns"] == []
    assert await stored(database) == 0


async def test_bad_rows_are_part_of_a_preview(api: httpx.AsyncClient, database: Database):
    of_path = (await api.post("/api/eval-runs/preview", json={"data_path": "bad.csv"})).json()
    of_file = await preview(api, "\n".join([HEADER, *[BAD] * 1_003]).encode())

    for previewed, found, more in ((of_path, 1, 0), (of_file, 1_000, 3)):
        assert (previewed["statistics"], previewed["chosen"], previewed["llm_calls"]) == (
            None,
            None,
            None,
        )
        assert (len(previewed["bad_rows"]), previewed["more_bad_rows"]) == (found, more)
        assert previewed["bad_rows"][0]["row"] == 2
        assert previewed["bad_rows"][0]["column"] == "timestamp"
    assert await stored(database) == 0


async def test_other_headers_are_guessed_and_shown_with_samples(api: httpx.AsyncClient):
    header = "Conversation ID,Customer,Session,Question,Answer,Intent,Created At,Image,Notes"
    rows = [GOOD + f",{n}" for n in range(5)]
    previewed = await preview(api, "\n".join([header, *rows]).encode())

    assert previewed["mapping"] == {
        "thread_id": "Conversation ID", "user_id": "Customer", "session_id": "Session",
        "query_text": "Question", "final_response_message": "Answer",
        "intent_detected": "Intent", "timestamp": "Created At", "has_image": "Image",
    }  # fmt: skip
    assert previewed["missing_columns"] == []
    assert previewed["columns"][-1] == {"name": "Notes", "samples": ["0", "1", "2"]}
    assert previewed["statistics"]["messages"] == 5, "read by the guess"


async def test_what_nothing_stands_for_is_missing(api: httpx.AsyncClient):
    theirs = CONTENT.replace(b"thread_id", b"???").replace(b"query_text", b"!")
    theirs = theirs.replace(b"session_id", b"#")
    previewed = await preview(api, theirs)

    assert previewed["missing_columns"] == ["thread_id", "query_text"]
    assert {each["column"] for each in previewed["bad_rows"]} == {"thread_id", "query_text"}
    given = await preview(api, theirs, mapping=json.dumps({"thread_id": "???", "query_text": "!"}))
    assert (given["missing_columns"], given["bad_rows"]) == ([], [])
    assert given["mapping"]["thread_id"] == "???"


async def test_a_column_may_be_missing_in_the_file(api: httpx.AsyncClient):
    """The guess is corrected: what looks like a user is none."""
    reply = await upload(api, CONTENT, mapping=json.dumps({"user_id": ""}))
    threads = await api.get(f"/api/datasets/{reply.json()['id']}/threads")

    assert reply.json()["mapping"] == {"user_id": ""}
    assert threads.json()["threads"][0]["user_id"] == "unknown"


async def test_the_order_of_dates_is_asked_for_where_the_file_does_not_decide_it(
    api: httpx.AsyncClient,
):
    rows = [GOOD.replace("2025-11-01T08:00:00Z", written) for written in ("1/2/2025", "2/1/2025")]
    content = "\n".join([HEADER, *rows, ""]).encode()
    head = await preview(api, content, head="true")
    whole = await preview(api, content)
    refused = await upload(api, content)
    ordered = await upload(api, content, date_order="month-first")
    decided = await preview(
        api, content + GOOD.replace("2025-11-01T08:00:00Z", "13/1/2025").encode()
    )

    assert (head["is_date_order_needed"], whole["is_date_order_needed"]) == (True, True)
    assert refused.status_code == 422
    assert "date_order day-first or month-first" in refused.text
    assert ordered.json()["first_at"] == "2025-01-02T00:00:00+00:00"
    assert (decided["is_date_order_needed"], decided["bad_rows"]) == (False, [])


async def test_personal_data_is_masked_and_duplicates_are_remarked(api: httpx.AsyncClient):
    row = GOOD.replace("2 idli", "I am ann@example.org")
    content = "\n".join(
        [HEADER, row, row, row.replace("t1", "t2"), row.replace("t1", "t3")]
    ).encode()
    plain = (await upload(api, content)).json()
    masked = (await upload(api, content, mask="emails,phones")).json()
    named = (await upload(api, content, mask="emails", mask_names="Noted\nI am")).json()
    others = (await upload(api, content, mask="emails", mask_names="Noted")).json()
    threads = (await api.get(f"/api/datasets/{masked['id']}/threads")).json()["threads"]

    assert len({each["id"] for each in (plain, masked, named, others)}) == 4
    assert named["notices"][-1]["message"] == (
        "Masked before it was stored: 12 values (emails, names)."
    )
    assert [each["opening"] for each in threads] == ["I am [email]"] * 3
    assert [(each["kind"], each["count"], each["row"]) for each in masked["notices"]] == [
        ("duplicated_messages", 1, 3), ("duplicated_threads", 1, 5), ("masked", 4, None),
    ]  # fmt: skip
    assert (await api.get(f"/api/datasets/{masked['id']}")).json()["notices"] == masked["notices"]


@pytest.mark.parametrize("cut", [-1, -3, -30, -70])
async def test_the_head_of_a_file_may_end_anywhere(api: httpx.AsyncClient, cut: int):
    tall = GOOD.replace("2 idli", '"two\nठीक है\nlines"')
    content = "\n".join([HEADER, GOOD, BAD, *[tall] * 3, ""]).encode()
    previewed = await preview(api, content[:cut], head="true")

    assert [(each["row"], each["column"]) for each in previewed["bad_rows"]] == [(3, "timestamp")]
    assert (previewed["statistics"], previewed["chosen"], previewed["llm_calls"]) == (
        None,
        None,
        None,
    )
    assert [each["name"] for each in previewed["columns"]] == HEADER.split(",")
    assert previewed["missing_columns"] == []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"dataset_id": NONE}, ["body", "dataset_id"]),
        ({"data_path": "../x"}, ["body", "data_path"]),
        ({"total_items": 49}, ["body", "total_items"]),
        ({"total_items": 4, "app_id": "clippy"}, ["body", "app_id"]),
        ({"total_items": 4, "smaple_size": 4}, ["body", "smaple_size"]),
        ({}, ["body"]),
    ],
)
async def test_a_preview_of_invalid_params_is_refused_with_the_field(
    api: httpx.AsyncClient, params: dict[str, Any], field: list[str]
):
    reply = await api.post("/api/eval-runs/preview", json=params)

    assert reply.status_code == 422
    assert [each["loc"] for each in reply.json()["detail"]] == [field]


async def test_params_beside_a_file_are_refused_with_their_path(api: httpx.AsyncClient):
    for params in ({"app_id": "clippy"}, {"sample_size": 0}):
        reply = await api.post(
            "/api/eval-runs/preview",
            files={"file": ("a.csv", sample_csv().read_bytes())},
            data={"params": json.dumps(params)},
        )
        assert reply.status_code == 422
        (found,) = reply.json()["detail"]
        assert found["loc"] == ["body", "params", *params]


async def test_a_preview_that_takes_too_long_is_cancelled(
    api: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(http_datasets, "PREVIEW_SECONDS", 0.2)
    async with database.long_read():
        reply = await api.post("/api/eval-runs/preview", files={"file": ("june.csv", CONTENT)})

    assert reply.status_code == 503
    assert "took too long" in reply.json()["detail"]
    assert reply.headers["retry-after"]
    assert (await upload(api)).status_code == 201


@pytest.mark.parametrize("rows", [1, 20_000], ids=["in memory", "on disk"])
async def test_a_packed_file_of_any_size_is_read(api: httpx.AsyncClient, rows: int):
    lines = [f"c{number},{os.urandom(60).hex()},a" for number in range(rows)]
    content = "\n".join(["thread_id,input,response", *lines]).encode()
    reply = await upload(api, gzip.compress(content), "large.csv.gz")

    assert (reply.status_code, reply.json()["threads"]) == (201, rows)
