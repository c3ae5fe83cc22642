"""Notes on conversations are added and never changed."""

from typing import Any

import pytest
from tests.http.conftest import ServeApi, serve_api

from evalqueue import Client
from evalqueue.evaluators.labels import notes
from evalqueue.testing import Behaviour

__all__ = ["serve_api"]
TWO: dict[str, Any] = {"total_items": 2, "evaluators": ["intent"]}


async def test_notes_stand_beside_each_other_in_every_run_over_the_dataset(
    client: Client, judged: Any, serve_api: ServeApi
) -> None:
    run, again = [str(await judged(Behaviour(), **TWO)) for _ in range(2)]
    async with serve_api() as http:
        outcomes = (await http.get(f"/api/eval-runs/{run}/outcomes")).json()["outcomes"]
        first, second = [each["thread_id"] for each in outcomes]
        for thread_id, note in ((first, "Same"), (first, "Same"), (second, " a\nb\u0000 ")):
            said = {"run_id": run, "thread_id": thread_id, "note": note}
            added = await http.post("/api/notes", json=said)
            assert added.status_code == 201, added.text
        assert added.json()["written_by"] == "default"
        found = (await http.get(f"/api/eval-runs/{again}/notes")).json()["notes"]
        assert [(each["thread_id"], each["note"]) for each in found] == [
            (first, "Same"), (first, "Same"), (second, "a\nb\ufffd"),
        ]  # fmt: skip
        one = await http.get(
            f"/api/eval-runs/{again}/notes", params={"thread_id": first, "after": found[0]["id"]}
        )
        assert one.json()["notes"] == [found[1]]


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ({"thread_id": "nothing"}, 404, "no such conversation"),
        ({"run_id": "0198c2de-52b1-7a34-8e0f-5a1b1f6d2c11"}, 404, "Run not found"),
        ({"note": " \n "}, 422, "Write something"),
        ({"note": "x" * 4001}, 422, "4000"),
        ({"written_by": "a\nb"}, 422, "one line"),
    ],
)
async def test_what_can_not_be_noted_is_refused(
    client: Client, judged: Any, serve_api: ServeApi, said: dict[str, str], status: int, reason: str
) -> None:
    run = str(await judged(Behaviour(), **TWO))
    async with serve_api() as http:
        ((thread_id), *_) = [
            each["thread_id"]
            for each in (await http.get(f"/api/eval-runs/{run}/outcomes")).json()["outcomes"]
        ]
        sent = {"run_id": run, "thread_id": thread_id, "note": "Look"} | said
        refused = await http.post("/api/notes", json=sent)
        assert refused.status_code == status
        assert reason.casefold() in refused.text.casefold()
        assert (await http.get(f"/api/eval-runs/{run}/notes")).json()["notes"] == []


async def test_a_conversation_has_so_many_notes_at_most(
    client: Client, judged: Any, serve_api: ServeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes, "NOTES_MAX", 1)
    run = str(await judged(Behaviour(), **TWO))
    async with serve_api() as http:
        outcomes = (await http.get(f"/api/eval-runs/{run}/outcomes")).json()["outcomes"]
        said = {"run_id": run, "thread_id": outcomes[0]["thread_id"], "note": "Look"}
        statuses = [(await http.post("/api/notes", json=said)).status_code for _ in range(2)]
    assert statuses == [201, 409]
