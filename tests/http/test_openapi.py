"""The OpenAPI document is correct: every operation is called, and every reply validated."""

import asyncio
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from starlette.routing import Route
from tests.apps.conftest import TELECOM
from tests.http.conftest import ENTRIES, PATIENCE, TOKENS, bearer, readiness

from evalqueue import Client, Settings, daemon
from evalqueue.evaluators.adversarial import saved_cases
from evalqueue.evaluators.adversarial import store as adversarial_store
from evalqueue.evaluators.adversarial.cases.case import Case
from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.evaluators.simulated.conversations import sample_csv
from evalqueue.evaluators.verdicts import Difficulty
from evalqueue.http.app import OPERATIONS, create_app
from evalqueue.http.guards.sessions import COOKIE, SECURE_COOKIE
from evalqueue.http.openapi import document as document_of
from evalqueue.http.routes import page
from evalqueue.postgres.database import Database
from evalqueue.postgres.rows import jsonb

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
Schema = dict[str, Any]

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,),
    "number": (int, float), "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
FORMATS: dict[str, Callable[[str], bool]] = {
    "uuid": lambda text: str(UUID(text)) == text,
    "date-time": lambda text: datetime.fromisoformat(text).tzinfo is not None,
}
CASE = Case(
    opening="I had two rotis",
    expected_behavior="It asks when",
    difficulty=Difficulty.EASY,
    persona="easy",
)
BODIES: dict[str, dict[str, Any]] = {
    "/api/jobs": {"job_type": "note"},
    "/api/eval-runs/preview": {"total_items": 3},
    "/api/eval-runs/{run_id}/share": {"days": 7},
    "/api/session": {"token": "of-nobody"},
    "/api/v1/traces": {"resourceSpans": []},
    "/api/threads": {
        "threads": [{"thread_id": "t", "messages": [{"role": "user", "content": "Hi", "id": "m1"}]}]
    },
    "/api/apps": {"text": TELECOM},
    "/api/evaluators/try": {"dataset_id": "sha256:" + "0" * 64},
    "/api/labels": {
        "run_id": str(uuid4()),
        "labels": [
            {
                "thread_id": "t",
                "evaluator": "intent",
                "value": "a",
                "labelled_by": "ann",
                "is_random": True,
            }
        ],
    },
    "/api/notes": {"run_id": str(uuid4()), "thread_id": "t", "note": "Look at this"},
    "/api/alerts": {"name": "judge", "watches": "drift"},
    "/api/annotation-queues": {"run_id": str(uuid4()), "evaluator": "intent"},
    "/api/annotation-queues/next": {"queue_id": str(uuid4())},
    "/api/annotation-queues/label": {"queue_id": str(uuid4()), "position": 1, "value": "a"},
    "/api/annotation-queues/release": {
        "queue_id": str(uuid4()),
        "position": 1,
        "expires_at": "2026-01-31T08:00:00Z",
    },
    "/api/adversarial/cases": {
        "app_id": "kaira-bot",
        "cases": [{"opening": "Hi", "expected_behavior": "It greets", "persona": "easy"}],
    },
}
"""A valid body for each operation with a body."""
MANNERS = {
    "name": "manners",
    "title": "Manners",
    "scores": [{"name": "verdict", "title": "Verdict", "kind": "category", "labels": ["A", "B"]}],
    "headline": "verdict",
    "details_key": "manners",
}
CSV = sample_csv().read_bytes()
FORMS: dict[str, dict[str, Any]] = {
    "/api/datasets": {"files": {"file": ("a.csv", CSV + b"\n")}, "data": {"mapping": "{}"}},
    "/api/eval-runs/preview": {"files": {"file": ("a.csv", CSV)}, "data": {"head": "true"}},
}
"""A valid form for each operation with a form."""
STREAM = "text/event-stream"
CHECKED = {
    "$ref", "type", "properties", "required", "additionalProperties", "items", "anyOf", "oneOf",
    "enum", "const", "format", "minimum", "maximum", "minLength", "maxLength", "pattern",
    "contentSchema",
}  # fmt: skip
SAYS_NOTHING = {
    "contentMediaType",
    "title",
    "description",
    "default",
    "discriminator",
}


def problems(value: Any, schema: Schema, document: Schema, at: str = "$") -> Iterator[str]:
    """The places where a value violates a schema. Supports the keywords that the document uses."""
    assert set(schema) <= CHECKED | SAYS_NOTHING, f"{at}: teach me {set(schema) - CHECKED}"
    if "$ref" in schema:
        yield from problems(value, resolved(schema, document), document, at)
    if "anyOf" in schema and not any(
        fits(value, choice, document, at) for choice in schema["anyOf"]
    ):
        yield f"{at}: none of anyOf: {value!r}"
    if "oneOf" in schema:
        matching = sum(fits(value, choice, document, at) for choice in schema["oneOf"])
        if matching != 1:
            yield f"{at}: {matching} of oneOf: {value!r}"
    yield from scalar_problems(value, schema, at)
    kind = kind_of(value)
    if kind is str and "contentSchema" in schema:
        yield from problems(json.loads(value), schema["contentSchema"], document, at)
    if kind is dict:
        yield from object_problems(value, schema, document, at)
    if kind is list and "items" in schema:
        for index, item in enumerate(value):
            yield from problems(item, schema["items"], document, f"{at}[{index}]")


def kind_of(value: object) -> type[object]:
    """The JSON type of a value; in JSON, true is not a number."""
    return type(value)


def fits(value: Any, schema: Schema, document: Schema, at: str) -> bool:
    return not list(problems(value, schema, document, at))


def scalar_problems(value: Any, schema: Schema, at: str) -> Iterator[str]:
    kind = kind_of(value)
    if "type" in schema and kind not in TYPES[schema["type"]]:
        yield f"{at}: not {schema['type']}: {value!r}"
        return
    if "const" in schema and value != schema["const"]:
        yield f"{at}: not {schema['const']!r}: {value!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: not one of {schema['enum']}: {value!r}"
    if kind in (int, float):
        lowest, highest = schema.get("minimum", float("-inf")), schema.get("maximum", float("inf"))
        if not lowest <= value <= highest:
            yield f"{at}: out of range: {value!r}"
    if kind is str:
        yield from text_problems(value, schema, at)


def text_problems(value: str, schema: Schema, at: str) -> Iterator[str]:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", float("inf")):
        yield f"{at}: too short or too long: {value!r}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{at}: not like {schema['pattern']}: {value!r}"
    if "format" in schema and not FORMATS[schema["format"]](value):
        yield f"{at}: not {schema['format']}: {value!r}"


def object_problems(
    value: dict[str, Any], schema: Schema, document: Schema, at: str
) -> Iterator[str]:
    properties = schema.get("properties", {})
    rest: Any = schema.get("additionalProperties", True)
    for name in schema.get("required", []):
        if name not in value:
            yield f"{at}: {name} is missing"
    for name, item in value.items():
        if name in properties:
            yield from problems(item, properties[name], document, f"{at}.{name}")
        elif rest is False:
            yield f"{at}: {name} is not in the schema"
        elif rest is not True:
            yield from problems(item, rest, document, f"{at}.{name}")


def resolved(schema: Schema, document: Schema) -> Schema:
    found = document
    for step in schema["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return found


def closed(schema: Any) -> Any:
    """The same document, in which objects may have no undocumented properties."""
    kind = kind_of(schema)
    if kind is list:
        return [closed(item) for item in schema]
    if kind is not dict:
        return schema
    shut: Schema = {key: closed(value) for key, value in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        shut.setdefault("additionalProperties", False)
    return shut


@pytest.fixture
async def document(api: httpx.AsyncClient) -> Schema:
    return closed((await api.get("/openapi.json")).json())


def assert_as_documented(document: Schema, path: str, reply: httpx.Response) -> None:
    responses = document["paths"][path][reply.request.method.lower()]["responses"]
    assert str(reply.status_code) in responses, f"{path}: {reply.status_code} is not documented"
    (media_type,) = (response := responses[str(reply.status_code)])["content"]
    assert reply.headers["content-type"] == media_type
    found = list(problems(reply.json(), response["content"][media_type]["schema"], document))
    assert found == [], f"{reply.request.method} {path} {reply.status_code}"


async def first_lines(reply: httpx.Response) -> list[str]:
    """The first events of a stream: the retry time, and a single job's state."""
    lines: list[str] = []
    async with asyncio.timeout(PATIENCE):
        async for line in reply.aiter_lines():
            lines.append(line)
            if not line and (reply.url.path == "/api/events" or lines[-2].startswith("data: ")):
                return lines
    raise AssertionError(lines)


async def assert_told_as_documented(document: Schema, path: str, reply: httpx.Response) -> None:
    if path == "/metrics":
        (kind,) = document["paths"][path]["get"]["responses"][str(reply.status_code)]["content"]
        assert reply.headers["content-type"] == kind
        return
    if reply.headers["content-type"] != STREAM:
        await reply.aread()
        assert_as_documented(document, path, reply)
        return
    schema = document["paths"][path]["get"]["responses"]["200"]["content"][STREAM]["schema"]
    lines = await first_lines(reply)
    assert lines[0].startswith("retry: ")
    for block in "\n".join(lines).split("\n\n"):
        event = dict(line.split(": ", 1) for line in block.splitlines())
        if "data" in event:
            assert list(problems(event, schema, document)) == [], path


async def seeded(database: Database, api: httpx.AsyncClient) -> dict[str, str]:
    """Create a job whose run has rows of every type; returns path parameters."""
    body = {"job_type": "evaluate-test", "params": {"app_id": "kaira-bot"}}
    job = (await api.post("/api/jobs", json=body)).json()
    async with database.connection() as connection:
        for statement in (
            "INSERT INTO thread_evaluations (run_id, thread_id, intent_accuracy,"
            " worst_correctness, result, attempt, duration_ms)"
            " VALUES (%s, 't1', 0.25, 'HARD FAIL', '{}', 1, 1)",
            "INSERT INTO thread_evaluations (run_id, thread_id, error, result, attempt,"
            " duration_ms) VALUES (%s, 't2', 'no judge', '{}', 1, 1)",
            "INSERT INTO adversarial_evaluations (run_id, case_id, trial, label, category,"
            " difficulty, persona, verdict, total_turns, stop_reason, result, attempt)"
            f" VALUES (%s, '{CASE.case_id}', 1, '', 'typos', 'hard', 'hard', 'PASS', 2,"
            " 'goal_complete', '{}', 1)",
            "INSERT INTO adversarial_dialogues (run_id, case_id, trial, job_id, attempt)"
            " SELECT id, 'c2', 1, job_id, 1 FROM eval_runs WHERE id = %s",
            "INSERT INTO api_logs (run_id, evaluator, provider, model, method, outcome,"
            " try_number, prompt, duration_ms, attempt, started_at)"
            " VALUES (%s, 'intent', 'openai', 'm', 'x', 'ok', 1, '', 1, 1, now())",
        ):
            await connection.execute(statement, [job["run_id"]])  # pyright: ignore[reportArgumentType]
        ids = await (
            await connection.execute(
                "SELECT api_logs.id, min(thread.id) FROM api_logs, thread_evaluations AS thread"
                " GROUP BY 1"
            )
        ).fetchone()
        assert ids is not None
        await adversarial_store.settle_cases(connection, UUID(job["run_id"]), [CASE], trials=1)
        incoming = Incoming(file=io.BytesIO(CSV), name="sample.csv")
        await imports.add(database, incoming, owner="default", kept=True)
        await saved_cases.save(connection, "kaira-bot", [CASE], owner="default", pinned=False)
        await connection.execute(
            "SELECT evalqueue_register_worker('w', 'here', 1, '1', NULL, '{note}', 4)"
        )
        await connection.execute(
            "UPDATE eval_runs SET config = config || %s", [jsonb({"evaluators": [MANNERS]})]
        )
        cursor = await connection.execute(
            "INSERT INTO annotation_queues (owner, run_id, dataset_id, evaluator, name, selection,"
            " annotators) VALUES ('default', %s, %s, 'manners', 'verdict', 'random', 2)"
            " RETURNING id",
            [job["run_id"], f"sha256:{sha256(CSV).hexdigest()}"],
        )
        ((queue_id,),) = await cursor.fetchall()
        cursor = await connection.execute(
            "INSERT INTO alerts (owner, name, watches, webhook_url)"
            " VALUES ('default', 'failures', 'failed', 'http://localhost:9/') RETURNING id"
        )
        ((alert_id,),) = await cursor.fetchall()
        await connection.execute(
            "INSERT INTO alert_events (alert_id, kind, explanation) VALUES (%s, 'fired', 'Failed')",
            [alert_id],
        )
    return {
        "job_id": job["id"],
        "run_id": job["run_id"],
        "baseline_id": job["run_id"],
        "queue": "evalqueue",
        "queue_id": str(queue_id),
        "alert_id": str(alert_id),
        "app_id": "kaira-bot",
        "case_id": CASE.case_id,
        "dataset_id": f"sha256:{sha256(CSV).hexdigest()}",
        "log_id": str(ids[0]),
        "evaluation_id": str(ids[1]),
        "share_id": str(uuid4()),
        "token": "evs_of-nobody",
    }


def taken(method: str, path: str) -> set[str]:
    """The media types of an operation's body."""
    kinds = {"application/json": BODIES, "multipart/form-data": FORMS}
    return {kind for kind, paths in kinds.items() if method == "post" and path in paths}


async def test_every_operation_replies_as_it_is_documented(
    api: httpx.AsyncClient, document: Schema, database: Database
) -> None:
    known = await seeded(database, api)
    unknown = {
        "job_id": str(uuid4()), "run_id": str(uuid4()), "baseline_id": str(uuid4()),
        "queue_id": str(uuid4()), "queue": "unknown-queue", "alert_id": str(uuid4()),
        "app_id": "unknown", "case_id": "none", "log_id": "0", "evaluation_id": "0",
        "dataset_id": "sha256:" + "0" * 64, "share_id": str(uuid4()), "token": "evs_unknown",
    }  # fmt: skip
    bad = {
        "job_id": "17", "run_id": "17", "baseline_id": "17", "queue": "q" * 41,
        "queue_id": "17", "app_id": "a" * 101, "alert_id": "17",
        "case_id": "c" * 101, "log_id": "-1", "evaluation_id": "x", "dataset_id": "latest",
        "share_id": "17", "token": "%00",
    }  # fmt: skip
    seen: set[tuple[str, str, int]] = set()

    async def call(method: str, path: str, ids: dict[str, str], **options: Any) -> None:
        async with api.stream(method.upper(), path.format(**ids), **options) as reply:
            await assert_told_as_documented(document, path, reply)
        seen.add((reply.request.method, path, reply.status_code))

    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            body: dict[str, Any] = {"json": BODIES[path]} if path in BODIES else {}
            assert set(operation.get("requestBody", {}).get("content", ())) == taken(method, path)
            if method == "post" and path in FORMS:
                await call(method, path, known, **FORMS[path])
                await call(method, path, known, data={"name": "a"}, files={"mapping": b"[]"})
            body = body if method == "post" else {}
            for ids in (known, unknown, bad) if "{" in path else (known,):
                await call(method, path, ids, **body)
            await call(method, path, known, headers={"Host": "evil.example"}, **body)
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query":
                    await call(method, path, known, params={parameter["name"]: "\x00" * 51})
                if parameter["in"] == "header":
                    await call(method, path, known, headers={parameter["name"]: "x" * 256}, **body)
    await call("POST", "/api/datasets", {}, **FORMS["/api/datasets"])  # for the second time
    await call("POST", "/api/apps", {}, json=BODIES["/api/apps"])
    await call("POST", "/api/apps", {}, json=BODIES["/api/apps"])  # for the second time
    await call("POST", "/api/apps", {}, json={"text": "app_id = 1"})
    await call("DELETE", "/api/apps/{app_id}", {"app_id": "telecom"})
    await call("DELETE", "/api/apps/{app_id}", {"app_id": "telecom"})
    await call("DELETE", "/api/apps/{app_id}", {"app_id": "kaira-bot"})
    await call("POST", "/api/jobs", {}, json={"job_type": "nope"})
    await call("POST", "/api/adversarial/cases", {}, json={"app_id": "kaira-bot"})
    await call("POST", "/api/jobs", {}, content=b"x" * 2000)
    await call("POST", "/api/jobs/{job_id}/cancel", known)
    await call("POST", "/api/jobs/{job_id}/retry", known)
    queued = (await api.post("/api/jobs", json={"job_type": "note"})).json()["id"]
    await call("POST", "/api/jobs/{job_id}/retry", {"job_id": queued})
    for text in ("one", "another"):
        body = {"job_type": "note", "params": {"text": text}}
        await call("POST", "/api/jobs", {}, json=body, headers={"Idempotency-Key": "k"})
    other = {"role": "user", "content": "Ho", "id": "m1"}
    posted = {"threads": [{"thread_id": "t", "messages": [other]}]}
    await call("POST", "/api/threads", {}, json=posted)
    await call("POST", "/api/threads", {}, json={"threads": []})
    ready = await readiness(api)  # the first request may have timed out
    assert_as_documented(document, "/readyz", ready)
    seen.add(("GET", "/readyz", ready.status_code))

    assert seen >= {
        ("POST", "/api/jobs", 201), ("POST", "/api/jobs", 422), ("POST", "/api/jobs", 415),
        ("POST", "/api/jobs/{job_id}/cancel", 200), ("POST", "/api/jobs/{job_id}/cancel", 400),
        ("GET", "/api/jobs/{job_id}", 404), ("GET", "/api/jobs", 422),
        ("GET", "/api/eval-runs/{run_id}/logs", 200),
        ("GET", "/api/eval-runs/{run_id}/logs/{log_id}", 200),
        ("GET", "/api/eval-runs/{run_id}/threads/{evaluation_id}", 200),
        ("GET", "/api/eval-runs/{run_id}/comparison/{baseline_id}", 200),
        ("GET", "/api/eval-runs/{run_id}/comparison/{baseline_id}", 404),
        ("GET", "/api/eval-runs/{run_id}/comparison/{baseline_id}", 422),
        ("GET", "/api/eval-runs/{run_id}/statistics", 200),
        ("GET", "/api/eval-runs/{run_id}/statistics", 404), ("GET", "/api/eval-runs", 403),
        ("POST", "/api/jobs", 409), ("POST", "/api/jobs/{job_id}/retry", 201),
        ("POST", "/api/jobs/{job_id}/retry", 409), ("POST", "/api/queues/{queue}/pause", 422),
        ("GET", "/api/events", 200), ("GET", "/api/events", 422),
        ("GET", "/api/jobs/{job_id}/events", 200), ("GET", "/api/jobs/{job_id}/events", 404),
        ("GET", "/api/workers", 200), ("GET", "/readyz", 200),
        ("POST", "/api/datasets", 201), ("POST", "/api/datasets", 200),
        ("POST", "/api/datasets", 415), ("POST", "/api/datasets", 422),
        ("GET", "/api/datasets/{dataset_id}", 200), ("GET", "/api/datasets/{dataset_id}", 404),
        ("GET", "/api/datasets/{dataset_id}", 422), ("GET", "/api/datasets", 200),
        ("GET", "/api/datasets/{dataset_id}/threads", 200),
        ("POST", "/api/threads", 200), ("POST", "/api/threads", 409),
        ("POST", "/api/threads", 422), ("GET", "/api/sources", 200),
        ("DELETE", "/api/datasets/{dataset_id}", 200),
        ("DELETE", "/api/datasets/{dataset_id}", 404),
        ("POST", "/api/eval-runs/preview", 200), ("POST", "/api/eval-runs/preview", 422),
        ("GET", "/api/eval-runs/{run_id}/adversarial/{case_id}", 200),
        ("GET", "/api/eval-runs/{run_id}/adversarial/{case_id}", 404),
        ("POST", "/api/apps", 201), ("POST", "/api/apps", 200), ("POST", "/api/apps", 422),
        ("GET", "/api/apps/{app_id}", 200), ("GET", "/api/apps/{app_id}", 404),
        ("DELETE", "/api/apps/{app_id}", 200), ("DELETE", "/api/apps/{app_id}", 404),
        ("DELETE", "/api/apps/{app_id}", 409),
        ("GET", "/api/adversarial/apps/{app_id}", 200),
        ("POST", "/api/adversarial/cases", 201), ("POST", "/api/adversarial/cases", 422),
        ("DELETE", "/api/adversarial/cases/{app_id}/{case_id}", 200),
        ("DELETE", "/api/adversarial/cases/{app_id}/{case_id}", 404),
    }  # fmt: skip


async def test_a_token_and_a_body_limit_are_documented_as_they_are(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=ENTRIES, max_body_bytes=1024) as http:
        document = closed((await http.get("/openapi.json")).json())
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if (method, path) == ("post", "/api/session"):
                    continue  # where tokens are shown
                reply = await http.request(
                    method,
                    path.format(
                        job_id=uuid4(),
                        run_id=uuid4(),
                        baseline_id=uuid4(),
                        queue="q",
                        queue_id=uuid4(),
                        alert_id=uuid4(),
                        app_id="a",
                        case_id="c",
                        dataset_id="d",
                        log_id=1,
                        evaluation_id=1,
                        share_id=uuid4(),
                        token="evs_unknown",
                    ),
                )
                assert (reply.status_code == 401) == ("security" in operation)
                assert_as_documented(document, path, reply)
        reply = await http.post("/api/jobs", content=b" " * 2000, headers=bearer(TOKENS["sam"]))
        assert reply.status_code == 413
        assert_as_documented(document, "/api/jobs", reply)


async def test_the_rights_that_are_needed_are_documented(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=ENTRIES) as http:
        document = (await http.get("/openapi.json")).json()

    ways = document["components"]["securitySchemes"]
    assert ways["token"] == {"type": "http", "scheme": "bearer"}
    assert {way["name"] for way in ways.values() if way["type"] == "apiKey"} == {
        COOKIE,
        SECURE_COOKIE,
    }
    needed = {
        (method, path): operation.get("security")
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    for route, right in (
        (("get", "/api/jobs"), "read"), (("post", "/api/jobs"), "submit"),
        (("post", "/api/queues/{queue}/pause"), "admin"), (("delete", "/api/session"), "read"),
    ):  # fmt: skip
        assert needed[route] == [{way: [right]} for way in ways]
    for route in (("get", "/healthz"), ("post", "/api/session"), ("get", "/openapi.json")):
        assert needed[route] is None


async def test_error_responses_are_documented_where_they_can_occur(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=ENTRIES, rate_limit="20/minute") as http:
        document = closed((await http.get("/openapi.json")).json())
        sam = bearer(TOKENS["sam"])
        refused = await http.post("/api/queues/q/pause", headers=sam)
        assert refused.status_code == 403
        assert_as_documented(document, "/api/queues/{queue}/pause", refused)
        while (reply := await http.get("/api/workers", headers=sam)).status_code == 200:
            continue
        assert reply.status_code == 429
        assert_as_documented(document, "/api/workers", reply)
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                assert "429" in operation["responses"], path
                assert ("408" in operation["responses"]) == ("requestBody" in operation), method


async def test_what_is_documented_as_a_body_is_what_is_taken(
    api: httpx.AsyncClient, document: Schema
) -> None:
    content = document["paths"]["/api/jobs"]["post"]["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    bodies: list[Any] = [
        {"job_type": "note"},
        {"job_type": "note", "params": {"text": "x", "weight": 1.5, "anything": [None]}},
        {"job_type": "evaluate-test", "params": {"app_id": "x"}},
        {"job_type": "evaluate-test"},
        {"job_type": "evaluate-test", "params": {"app_id": "x", "more": 1}},
        {"job_type": "note", "params": {"weight": -1}},
        {"job_type": "note", "more": 1},
        {"job_type": "nope"},
        {"params": {}},
        {"job_type": "note", "params": None},
        [],
    ]
    for body in bodies:
        taken = (await api.post("/api/jobs", json=body)).status_code == 201
        assert taken == fits(body, schema, document, "$"), body


async def test_parameters_are_documented_with_their_limits(document: Schema) -> None:
    parameters = {
        each["name"]: each for each in document["paths"]["/api/jobs"]["get"]["parameters"]
    }

    assert list(parameters) == ["status", "job_type", "limit", "offset"]
    assert parameters["limit"]["schema"].items() >= {
        "type": "integer", "default": 20, "minimum": 1, "maximum": 100,
    }.items()  # fmt: skip
    assert resolved(parameters["status"]["schema"], document)["enum"] == [
        "queued", "running", "completed", "failed", "cancelled",
    ]  # fmt: skip
    assert parameters["status"]["description"]
    assert not parameters["limit"]["required"]


async def test_every_param_of_every_job_type_is_described(database: Database) -> None:
    client = Client(database=database, settings=Settings())
    for job_type in daemon.job_types():
        client.job_types.add(job_type)
    schemas = document_of(OPERATIONS, client, "0", root_path="")["components"]["schemas"]

    bare = {
        f"{job_type}.{name}"
        for job_type, model in client.job_types.items()
        for name, field in schemas[model.__name__]["properties"].items()
        if "description" not in field
    }

    assert bare == set()


async def test_every_route_is_in_the_document_and_nothing_else(
    document: Schema, database: Database
) -> None:
    app = create_app(Client(database=database, settings=Settings()))
    routes: set[tuple[str, str]] = set()
    for route in app.routes:
        assert isinstance(route, Route)
        if route.path in {each.path for each in page.routes()}:
            continue  # for people
        routes |= {(route.path, method) for method in (route.methods or set()) - {"HEAD"}}

    documented = {
        (path, method.upper())
        for path, operations in document["paths"].items()
        for method in operations
    }

    assert documented == routes


async def test_every_placeholder_of_a_path_is_a_required_parameter(document: Schema) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            in_path = {
                each["name"]
                for each in operation.get("parameters", [])
                if each["in"] == "path" and each["required"]
            }
            assert in_path == set(re.findall(r"{(\w+)}", path)), path


async def test_the_document_is_whole(api: httpx.AsyncClient) -> None:
    text = (await api.get("/openapi.json")).text
    document = json.loads(text)

    assert document["openapi"] == "3.1.0"
    for ref in set(re.findall(r'"\$ref":"([^"]+)"', text)):
        assert resolved({"$ref": ref}, document)
    names = [
        operation["operationId"]
        for operations in document["paths"].values()
        for operation in operations.values()
    ]
    assert len(names) == len(set(names))
