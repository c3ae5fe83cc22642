"""Apps over HTTP: stored, listed, read, refused with the place of each mistake, and removed."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from tests.apps.conftest import TELECOM
from tests.http.conftest import ENTRIES, TOKENS, bearer

from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import documents, drafts
from evalqueue.evaluators.apps.documents import Notation
from evalqueue.evaluators.simulated.conversations import sample_csv

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
APP = documents.read(TELECOM, Notation.TOML, where="telecom.toml")
DOCUMENT = apps.to_document(APP, with_defaults=False)


@pytest.fixture
async def api(serve_api: ServeApi) -> AsyncGenerator[httpx.AsyncClient]:
    async with serve_api() as http:
        yield http


async def add(http: httpx.AsyncClient, status: int = 201, **body: Any) -> Any:
    reply = await http.post("/api/apps", json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


async def test_an_app_is_stored_listed_read_and_removed(api: httpx.AsyncClient) -> None:
    first = await add(api, document=DOCUMENT)
    again = await add(api, 200, text=TELECOM)
    second = await add(api, text=documents.to_json(APP).replace("Calls", "Talk"), notation="json")
    listed = (await api.get("/api/apps")).json()
    old = (await api.get("/api/apps/telecom", params={"version": 1})).json()
    missing = await api.get("/api/apps/telecom", params={"version": 3})
    removed = await api.delete("/api/apps/telecom")
    gone = await api.delete("/api/apps/telecom")

    assert (first["version"], first["owner"], again["version"], second["version"]) == (
        1, "default", 1, 2,
    )  # fmt: skip
    assert first["document"] == DOCUMENT
    assert documents.read(first["toml"], Notation.TOML, where="a") == APP
    assert [(each["app_id"], each["owner"], each["version"]) for each in listed] == [
        ("kaira-bot", None, None), ("retail-support", None, None), ("telecom", "default", 2),
    ]  # fmt: skip
    assert listed[2]["digest"] == second["digest"]
    assert old["digest"] == first["digest"]
    assert [each["version"] for each in old["versions"]] == [2, 1]
    assert missing.status_code == gone.status_code == 404
    assert removed.json() == {"app_id": "telecom", "owner": "default", "deleted": True}


async def test_an_app_that_compares_answers_without_a_tie_is_listed(api: httpx.AsyncClient) -> None:
    better = {
        "name": "better",
        "scope": "pair",
        "prompt": "Which answer helps more?",
        "output": {"kind": "category", "labels": ["second", "first"]},
    }
    await add(api, document={**DOCUMENT, "evaluators": [better]})
    listed = await api.get("/api/apps")
    assert listed.status_code == 200, listed.text
    assert "better" in listed.json()[2]["evaluators"]


async def test_the_evaluators_of_an_app_are_its_owners(serve_api: ServeApi) -> None:
    boolean = {"prompt": "Is it polite?", "output": {"kind": "boolean"}}
    own = {**DOCUMENT, "evaluators": [{"name": "polite", **boolean}, {"use": "tone"}]}
    taken = {**DOCUMENT, "evaluators": [{"name": "intent", **boolean}]}
    async with serve_api(api_tokens=ENTRIES) as http:

        async def as_(name: str, app_id: str) -> httpx.Response:
            return await http.get(
                "/api/evaluators", params={"app_id": app_id}, headers=bearer(TOKENS[name])
            )

        stored = await http.post("/api/apps", json={"document": own}, headers=bearer(TOKENS["sam"]))
        refused = await http.post(
            "/api/apps", json={"document": taken}, headers=bearer(TOKENS["sam"])
        )
        mine, other, admin = [await as_(name, "telecom") for name in ("sam", "rita", "ada")]
        shipped = await as_("rita", "kaira-bot")

    assert stored.status_code == 201, stored.text
    assert stored.json()["evaluators"] == ["intent", "correctness", "efficiency", "polite", "tone"]
    assert refused.status_code == 422
    (problem,) = refused.json()["detail"]
    assert problem["loc"] == ["body", "document", "evaluators", 0, "name"]
    assert "installed evaluator: rename it" in problem["msg"]
    assert (mine.status_code, other.status_code, admin.status_code) == (200, 404, 200)
    origins = {each["name"]: each["origin"] for each in mine.json()}
    assert (origins["polite"], origins["tone"], origins["safety"]) == ("app", "app", "catalogue")
    assert "polite" not in [each["name"] for each in shipped.json()]


async def test_every_mistake_is_named_with_its_place(api: httpx.AsyncClient) -> None:
    wrong = {**DOCUMENT, "app_id": "My Shop", "colour": "red", "rules": [{"rule_id": "a"}]}
    refused = await add(api, 422, document=wrong)
    as_text = await add(api, 422, text="a: *b", notation="yaml")
    shipped = await add(api, 422, document={**DOCUMENT, "app_id": "kaira-bot"})
    neither = await add(api, 422)
    listed = (await api.get("/api/apps")).json()

    places = [each["loc"] for each in refused["detail"]]
    assert ["body", "document", "rules", 0, "section"] in places
    assert ["body", "document", "colour"] in places
    assert as_text["detail"][0]["loc"] == ["body", "text"]
    assert "anchors and aliases" in as_text["detail"][0]["msg"]
    assert shipped["detail"][0]["loc"] == ["body", "document", "app_id"]
    assert "choose another app_id" in shipped["detail"][0]["msg"]
    assert "one of the two" in neither["detail"][0]["msg"]
    assert len(listed) == 2


async def test_a_dataset_uses_the_app_that_is_stored_for_it(api: httpx.AsyncClient) -> None:
    file = sample_csv().read_bytes()
    dataset = (await api.post("/api/datasets", files={"file": ("a.csv", file)})).json()
    refused = await add(api, 422, document=DOCUMENT, dataset_id=f"sha256:{'0' * 64}")
    before = (await api.get("/api/apps")).json()
    await add(api, document=DOCUMENT, dataset_id=dataset["id"])
    preview = await api.post(
        "/api/eval-runs/preview", json={"dataset_id": dataset["id"], "evaluate_intent": False}
    )
    foreign = await api.post("/api/eval-runs/preview", json={"dataset_id": dataset["id"]})

    assert refused["detail"][0]["loc"] == ["body", "dataset_id"]
    assert len(before) == 2
    assert preview.json()["app_id"] == foreign.json()["app_id"] == "telecom"
    assert [each["kind"] for each in foreign.json()["misfits"]] == ["labels_not_in_menu"]
    assert foreign.json()["misfits"][0]["refused"]


async def test_a_document_can_be_checked_without_being_stored(api: httpx.AsyncClient) -> None:
    checked = await add(api, 200, text=TELECOM, only_check=True)

    assert (checked["version"], checked["digest"]) == (None, documents.digest(APP))
    assert len((await api.get("/api/apps")).json()) == 2


async def test_a_shipped_app_is_read_only(api: httpx.AsyncClient) -> None:
    shown = (await api.get("/api/apps/kaira-bot")).json()
    removed = await api.delete("/api/apps/kaira-bot")

    assert (shown["owner"], shown["versions"]) == (None, [])
    assert documents.read(shown["toml"], Notation.TOML, where="a") == apps.load("kaira-bot")
    assert removed.status_code == 409
    assert "is shipped" in removed.json()["detail"]


async def test_owners_have_apps_of_the_same_name(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=ENTRIES) as http:
        for name, about in (("sam", "Sam's."), ("ada", "Ada's.")):
            reply = await http.post(
                "/api/apps",
                json={"document": {**DOCUMENT, "about": about}},
                headers=bearer(TOKENS[name]),
            )
            assert reply.status_code == 201, reply.text

        async def about(name: str, **params: str) -> tuple[int, str | None]:
            reply = await http.get("/api/apps/telecom", params=params, headers=bearer(TOKENS[name]))
            return reply.status_code, reply.json().get("about")

        assert await about("sam") == (200, "Sam's.")
        assert await about("sam", owner="ada") == (404, None)
        assert await about("ada") == (200, "Ada's.")
        assert await about("ada", owner="sam") == (200, "Sam's.")
        assert await about("rita") == (404, None)


async def test_versions_are_compared_and_mistakes_have_lines(api: httpx.AsyncClient) -> None:
    await add(api, text=TELECOM)
    await add(api, text=TELECOM.replace("Network", "Line"))
    compared = (await api.get("/api/apps/telecom", params={"since": 1})).json()
    alone = (await api.get("/api/apps/telecom")).json()
    missing = await api.get("/api/apps/telecom", params={"since": 9})
    wrong = await api.post("/api/apps", json={"text": TELECOM + "\nnobody = 1\n"})

    assert compared["changes"] == [
        '- intents[Network].name: "Network"',
        '- intents[Network].description: "Calls and data do not work."',
        '+ intents[Line].name: "Line"',
        '+ intents[Line].description: "Calls and data do not work."',
    ]
    assert alone["changes"] is None
    assert documents.read(alone["yaml"], Notation.YAML, where="a").intents[1].name == "Line"
    assert missing.status_code == 404
    assert [each["ctx"]["line"] for each in wrong.json()["detail"]] == [
        len(TELECOM.splitlines()) + 2
    ]


@pytest.mark.parametrize("sent", ["x%0Aname%20%3D%20%22y%22", "My%20Bot", "a%E2%80%AEb", "x%0A"])
async def test_a_draft_is_of_an_app_id_that_an_app_may_have(serve_api: ServeApi, sent: str) -> None:
    async with serve_api() as http:
        reply = await http.get(f"/api/app-draft?app_id={sent}")

    assert reply.status_code == 422
    assert [each["loc"] for each in reply.json()["detail"]] == [["query", "app_id"]]


def test_nothing_gets_out_of_the_comments_of_a_draft() -> None:
    text = drafts.starter("x\nname = 'y'\r")

    assert "\nname = 'y'" not in text
    assert "\r" not in text


async def test_a_draft_has_the_labels_of_its_dataset(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=ENTRIES) as http:
        mine, others = bearer(TOKENS["sam"]), bearer(TOKENS["otto"])
        with sample_csv().open("rb") as file:
            reply = await http.post(
                "/api/datasets", files={"file": ("june.csv", file)}, headers=mine
            )
        dataset_id = reply.json()["id"]
        path = f"/api/datasets/{dataset_id}/app-draft"
        draft = (await http.get(path, headers=mine)).json()
        starter = (await http.get("/api/app-draft?app_id=my-bot", headers=mine)).json()
        hidden = await http.get(path, headers=others)

    assert draft["app_id"] == "june"
    drafted = documents.read(draft["toml"], Notation.TOML, where="draft")
    assert {each.name for each in drafted.intents} == set(reply.json()["intents"])
    assert documents.read(starter["toml"], Notation.TOML, where="starter").app_id == "my-bot"
    assert hidden.status_code == 404
