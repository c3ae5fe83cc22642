"""People label the items of an annotation queue over HTTP."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

import httpx
import pytest
from costing import query
from judged_runs import client, judged
from tests.http.conftest import ENTRIES, TOKENS, bearer

from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour

__all__ = ["client", "judged"]

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
ROOT = "/api/annotation-queues"
REASONING = "only-the-judge-says-this"


async def asked(api: httpx.AsyncClient, run_id: UUID, **options: Any) -> dict[str, Any]:
    body = {"run_id": str(run_id), "evaluator": "efficiency", "size": 5} | options
    reply = await api.post(ROOT, json=body)
    assert reply.status_code == 201, reply.text
    return reply.json()


async def offered(api: httpx.AsyncClient, queue: dict[str, Any], by: str) -> httpx.Response:
    reply = await api.post(f"{ROOT}/next", json={"queue_id": queue["id"], "labelled_by": by})
    assert reply.status_code == 200, reply.text
    return reply


async def labelled(
    api: httpx.AsyncClient, queue: dict[str, Any], position: int, value: str, by: str
) -> httpx.Response:
    body = {"queue_id": queue["id"], "position": position, "value": value, "labelled_by": by}
    return await api.post(f"{ROOT}/label", json=body)


@pytest.fixture
async def run_id(judged: Any, database: Database) -> UUID:
    found: UUID = await judged(Behaviour(), total_items=48)
    await query(
        database,
        f"UPDATE scores SET reasoning = '{REASONING}' WHERE evaluator = 'efficiency' RETURNING 1",
    )
    return found


async def test_an_item_is_the_same_whatever_the_judge_has_said(
    api: httpx.AsyncClient, run_id: UUID, database: Database
) -> None:
    queue = await asked(api, run_id)
    replies: list[bytes] = []
    for verdict in ("BROKEN", "EFFICIENT"):
        await query(
            database,
            f"UPDATE scores SET value_text = '{verdict}' WHERE evaluator = 'efficiency'"
            " AND name = 'verdict' RETURNING 1",
        )
        reply = await offered(api, queue, "ann")
        item = reply.json()["item"]
        assert item["turns"][0]["user_text"]
        assert REASONING not in reply.text
        assert "BROKEN" not in reply.text
        assert "EFFICIENT" not in reply.text
        replies.append(reply.content.replace(item["expires_at"].encode(), b""))
    assert replies[0] == replies[1]

    other = (await offered(api, queue, "bob")).json()["item"]
    assert other["thread_id"] != item["thread_id"]
    reply = await labelled(api, queue, item["position"], "broken", "ann")
    found = reply.json()
    assert found["judged"] == {"value": "EFFICIENT", "reasoning": REASONING}
    assert [(each["labelled_by"], each["value"]) for each in found["labels"]] == [("ann", "BROKEN")]
    assert found["progress"] == {
        "items": 5, "complete": 1, "labels": 1, "disputed": 0, "agreement": None,
    }  # fmt: skip


async def test_a_queue_says_how_far_it_is(api: httpx.AsyncClient, run_id: UUID) -> None:
    queue = await asked(api, run_id, annotators=2)
    assert queue["question"]["menu"][0] == {
        "value": "EFFICIENT", "description": "Done in as few turns as it takes.",
    }  # fmt: skip
    for person, values in (
        ("ann", "EFFICIENT BROKEN EFFICIENT"),
        ("bob", "EFFICIENT BROKEN BROKEN"),
    ):
        for position, value in enumerate(values.split(), start=1):
            reply = await labelled(api, queue, position, value, person)
            assert reply.status_code == 200, reply.text
    shown = (await api.get(f"{ROOT}/{queue['id']}")).json()
    progress = shown["progress"]
    # Krippendorff's α of three pairs with one disagreement: 1 - 5 * 2 / (2 * 3 * 3).
    assert progress.pop("agreement") == pytest.approx(4 / 9)
    assert progress == {"items": 5, "complete": 3, "labels": 6, "disputed": 1}
    listed = (await api.get(f"/api/eval-runs/{run_id}/annotation-queues")).json()
    assert [each["id"] for each in listed["queues"]] == [queue["id"]]

    body = {"queue_id": queue["id"], "labelled_by": "eve", "adjudicates": True}
    item = (await api.post(f"{ROOT}/next", json=body)).json()["item"]
    assert [each["value"] for each in item["labels"]] == ["EFFICIENT", "BROKEN"]
    decision = body | {"position": item["position"], "value": "BROKEN", "note": "he gave up"}
    decided = (await api.post(f"{ROOT}/label", json=decision)).json()
    assert decided["progress"]["disputed"] == 0


async def test_an_item_is_given_back_only_as_it_was_offered(
    api: httpx.AsyncClient, run_id: UUID
) -> None:
    queue = await asked(api, run_id)
    first = (await offered(api, queue, "ann")).json()["item"]
    second = (await offered(api, queue, "ann")).json()["item"]
    given_back: list[bool] = []
    for each in (first, second, second):
        body = {"queue_id": queue["id"], "labelled_by": "ann"} | {
            name: each[name] for name in ("position", "expires_at")
        }
        reply = await api.post(f"{ROOT}/release", json=body)
        given_back.append(reply.json()["released"])
    assert given_back == [False, True, False]


async def test_wrong_requests_are_refused_with_their_reason(
    api: httpx.AsyncClient, run_id: UUID, database: Database
) -> None:
    queue = await asked(api, run_id)
    await offered(api, queue, "ann")
    wrong = await labelled(api, queue, 1, "splendid", "ann")
    assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["body", "value"])
    assert (await labelled(api, queue, 6, "BROKEN", "ann")).status_code == 404
    taken = await labelled(api, queue, 1, "BROKEN", "bob")
    assert (taken.status_code, taken.json()["detail"]) == (
        409, "Others have labelled this conversation meanwhile",
    )  # fmt: skip
    body = {"run_id": str(run_id), "evaluator": "intent", "name": "accuracy"}
    reply = await api.post(ROOT, json=body)
    assert (reply.status_code, reply.json()["detail"][0]["loc"]) == (422, ["body", "evaluator"])
    await query(database, "UPDATE eval_runs SET dataset_id = NULL RETURNING 1")
    gone = await api.post(f"{ROOT}/next", json={"queue_id": queue["id"]})
    assert gone.status_code == 409
    assert await query(database, "SELECT count(*) FROM labels") == [(0,)]


@pytest.mark.parametrize("name", [" ", "\x00", "\u200b", " \u2060\n"])
async def test_a_person_has_a_name_that_can_be_seen(
    name: str, api: httpx.AsyncClient, run_id: UUID, database: Database
) -> None:
    queue = await asked(api, run_id)
    refused = await labelled(api, queue, 1, "BROKEN", name)
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (
        422, ["body", "labelled_by"],
    )  # fmt: skip
    stripped = await labelled(api, queue, 1, "BROKEN", " ann ")
    assert stripped.status_code == 200
    assert await query(database, "SELECT labelled_by FROM labels") == [("ann",)]


async def test_a_misspelt_field_of_a_queue_is_refused(
    api: httpx.AsyncClient, run_id: UUID, database: Database
) -> None:
    body = {"run_id": str(run_id), "evaluator": "efficiency", "annotator": 3}
    reply = await api.post(ROOT, json=body)
    assert (reply.status_code, reply.json()["detail"][0]["loc"]) == (422, ["body", "annotator"])
    assert await query(database, "SELECT count(*) FROM annotation_queues") == [(0,)]


async def test_a_label_is_the_callers_unless_another_name_is_given(
    serve_api: ServeApi, run_id: UUID, database: Database
) -> None:
    await query(database, "UPDATE eval_runs SET owner = 'sam' RETURNING 1")
    async with serve_api(api_tokens=ENTRIES) as http:
        sam = bearer(TOKENS["sam"])
        body = {"run_id": str(run_id), "evaluator": "efficiency", "size": 2}
        queue = (await http.post(ROOT, json=body, headers=sam)).json()
        for position, person in ((1, {}), (2, {"labelled_by": "ann"})):
            said = {"queue_id": queue["id"], "position": position, "value": "BROKEN"}
            await http.post(f"{ROOT}/label", json=said | person, headers=sam)
    assert await query(database, "SELECT owner, labelled_by FROM labels ORDER BY id") == [
        ("sam", "sam"), ("sam", "ann"),
    ]  # fmt: skip
