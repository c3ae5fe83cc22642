"""What does not fit between an app, the evaluators and recorded labels is refused or remarked."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.apps.conftest import TELECOM

from evalqueue import Client, Settings
from evalqueue.errors import InvalidParams
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.apps import App, ThreadKind, documents
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.apps.documents import Notation
from evalqueue.evaluators.batch import preview
from evalqueue.evaluators.batch.fit import NamedBy, misfits
from evalqueue.evaluators.judging.plan import EvaluationPlan
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Database

HEADER = (
    "thread_id,user_id,session_id,query_text,final_response_message,intent_detected,"
    "timestamp,has_image"
)
APP = documents.read(TELECOM, Notation.TOML, where="telecom.toml")


def csv(*labels: str) -> str:
    rows = (
        f"t{number},u1,s1,my bill,It is 20 euro,{label},2025-11-01T08:00:00Z,0"
        for number, label in enumerate(labels)
    )
    return "\n".join([HEADER, *rows]) + "\n"


def found(
    recorded: Mapping[str, int],
    app: App = APP,
    evaluators: tuple[str, ...] | None = None,
    **options: Any,
) -> list[tuple[str, bool]]:
    plan = EvaluationPlan(app=app, evaluators=evaluators, options=options)
    return [(each.kind, each.refused) for each in misfits(plan, recorded, named_by=NamedBy.DATASET)]


@pytest.mark.parametrize(
    ("recorded", "named_by", "options", "expected"),
    [
        ({}, NamedBy.SETTINGS, {}, ["app_not_named"]),
        ({" ": 3}, NamedBy.SETTINGS, {}, ["app_not_named"]),
        ({"Billing": 3}, NamedBy.SETTINGS, {}, []),
        ({"Shoes": 3}, NamedBy.SETTINGS, {"evaluate_intent": False}, ["app_not_named"]),
        ({"Billing": 3}, NamedBy.SETTINGS, {"evaluate_intent": False}, []),
        (
            {"Shoes": 3},
            NamedBy.SETTINGS,
            {"intent_system_prompt": "Agents: Shoes, Hats"},
            ["app_not_named"],
        ),
        ({}, NamedBy.DATASET, {}, []),
        ({}, NamedBy.JOB, {}, []),
    ],
)
def test_the_default_app_is_remarked_where_no_label_tells_whether_it_fits(
    recorded: dict[str, int], named_by: NamedBy, options: dict[str, Any], expected: list[str]
) -> None:
    plan = EvaluationPlan(app=APP, evaluators=None, options=options)
    found = misfits(plan, recorded, named_by=named_by)
    assert [(each.kind, each.refused) for each in found] == [(kind, False) for kind in expected]


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ({}, []),
        ({"Billing": 3, "net-work": 1}, []),
        ({" ": 3}, []),
        ({"Billing": 3, "Sales": 1}, [("labels_not_in_menu", False)]),
        ({"FoodAgent": 3, "CgmAgent": 1}, [("labels_not_in_menu", True)]),
    ],
)
def test_recorded_labels_have_to_be_in_the_menu(
    recorded: dict[str, int], expected: list[tuple[str, bool]]
) -> None:
    assert found(recorded) == expected
    assert found(recorded, evaluate_intent=False) == []


def test_a_taxonomy_of_the_job_s_own_is_the_menu() -> None:
    own = "- Sales: buying\n- Repairs: something is broken"

    assert found({"Sales": 1, "repairs": 2}, intent_system_prompt=own) == []
    assert ("labels_not_in_menu", True) in found({"Billing": 1}, intent_system_prompt=own)
    assert ("invalid_option", True) in found({}, intent_system_prompt="Choose what is best.")
    assert found({}, intent_system_prompt="Billing is for money.") == []


def test_rules_are_asked_by_somebody() -> None:
    assert ("rules_not_asked", False) in found({}, evaluators=("intent",))
    assert ("rules_not_asked", False) in found({}, evaluate_efficiency=False)
    assert found({}, evaluators=("intent", "efficiency")) == []


def test_a_batch_in_which_nothing_can_be_judged_is_refused() -> None:
    no_requests = replace(APP, thread_types=(ThreadKind(name="chat", description="all"),))

    assert ("evaluator_finds_nothing", False) in found({}, no_requests)
    assert ("evaluator_finds_nothing", True) in found({}, no_requests, evaluators=("efficiency",))


@pytest.fixture
def client(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    return Client(
        database=database, settings=Settings(data_dir=tmp_path), job_types=[EvaluateBatch]
    )


async def test_a_job_that_can_only_be_wrong_is_refused_with_the_cure(
    client: Client, database: Database
) -> None:
    with pytest.raises(InvalidParams) as refused:
        await client.submit_params("evaluate-batch", {"csv_content": csv("Billing", "Network")})
    (problem,) = refused.value.problems
    assert problem.loc == ("params", "app_id")
    assert "it lacks Billing, Network (2 of 2 messages)" in problem.msg
    assert "evalqueue apps new --from DATASET" in problem.msg
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM jobs")
        assert await cursor.fetchone() == (0,)

    with pytest.raises(InvalidParams) as refused:
        await client.submit_params(
            "evaluate-batch",
            {"csv_content": csv("FoodAgent"), "intent_system_prompt": "Be careful."},
        )
    assert [each.loc for each in refused.value.problems] == [("params", "intent_system_prompt")]


async def test_an_app_that_the_job_names_is_used_with_a_warning(client: Client) -> None:
    job = await client.submit_params(
        "evaluate-batch", {"csv_content": csv("Billing"), "app_id": "kaira-bot"}
    )
    params = client.job_types.decode(job.job_type, job.params)
    admission = AdmissionContext(settings=client.settings, database=await client.database())

    (warning,) = await params.warnings(admission)
    assert "None of the labels recorded" in warning


async def test_what_is_accepted_is_remarked(client: Client, database: Database) -> None:
    rule = replace(APP.rules[0], rule_id="other")
    async with database.transaction() as connection:
        await app_store.add(connection, replace(APP, rules=(*APP.rules, rule)), owner="default")
    job = await client.submit_params(
        "evaluate-batch",
        {
            "csv_content": csv("Billing", "Sales"),
            "app_id": "telecom",
            "evaluators": ["intent"],
        },
    )
    params = client.job_types.decode(job.job_type, job.params)
    admission = AdmissionContext(settings=client.settings, database=database)

    rules, labels = await params.warnings(admission)
    assert "asks about no_data_of_others, other. Switch on efficiency" in rules
    assert "lacks Sales (1 of 2 messages)" in labels


def conversations(*answers: dict[str, Any]) -> str:
    """Conversations of one turn, each with an answer that has this."""
    return "\n".join(
        json.dumps({
            "id": f"t{number}",
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello", **each},
            ],
        })
        for number, each in enumerate(answers)
    )  # fmt: skip


CALL = {"function": {"name": "track", "arguments": "{}"}, "type": "function", "id": "1"}
CHECKED = {
    "no_reference": {"kind": "equals", "name": "same"},
    "no_latency": {"kind": "latency", "name": "fast", "max_seconds": 1},
    "text": {"kind": "length", "name": "short", "maximum": 10},
}


async def with_checks(database: Database, *names: str) -> str:
    document = {**json.loads(documents.to_json(APP)), "checks": [CHECKED[each] for each in names]}
    app = documents.from_document(document, where="an app")
    async with database.transaction() as connection:
        await app_store.add(connection, app, owner="default")
    return app.app_id


@pytest.mark.parametrize(
    ("evaluators", "has", "needed"),
    [
        (["trajectory"], {}, "expected_tool_calls"),
        (["trajectory"], {"expected_tool_calls": []}, None),
        (["groundedness"], {}, "context"),
        (["tool_use"], {}, "tool_calls"),
        (["tool_use"], {"tool_calls": [CALL]}, None),
        (["groundedness", "tool_use"], {}, "context"),
        (["groundedness", "tone"], {}, None),
    ],
)
async def test_evaluators_without_the_data_that_they_need_are_refused(
    client: Client, evaluators: list[str], has: dict[str, Any], needed: str | None
) -> None:
    params = {"csv_content": conversations(has), "app_id": "kaira-bot", "evaluators": evaluators}
    if needed is None:
        assert await client.submit_params("evaluate-batch", params)
        return
    with pytest.raises(InvalidParams) as refused:
        await client.submit_params("evaluate-batch", params)
    assert {each.loc for each in refused.value.problems} == {("params", "evaluators")}
    assert f"none has {needed}. Add that to the data." in refused.value.problems[0].msg
    assert await client.list() == []


async def test_checks_without_the_data_that_all_of_them_need_are_refused(
    client: Client, database: Database
) -> None:
    app_id = await with_checks(database, "no_reference", "no_latency")
    params = {"csv_content": conversations({}), "app_id": app_id, "evaluators": ["checks"]}
    with pytest.raises(InvalidParams, match="none has expected or latency_seconds"):
        await client.submit_params("evaluate-batch", params)

    await client.submit_params(
        "evaluate-batch", {**params, "csv_content": conversations({"latency_ms": 20})}
    )
    await with_checks(database, "no_reference", "no_latency", "text")
    await client.submit_params("evaluate-batch", params)


async def test_only_the_conversations_that_are_meant_have_to_have_the_data(
    client: Client, database: Database
) -> None:
    content = conversations({"expected_tool_calls": [{"name": "track"}]}, {})
    params = {"csv_content": content, "app_id": "kaira-bot", "evaluators": ["trajectory", "tone"]}
    admission = AdmissionContext(settings=client.settings, database=database)

    all_of_them = await client.submit_params("evaluate-batch", params)
    one = await client.submit_params("evaluate-batch", {**params, "thread_ids": ["t1"]})

    for job, warnings in ((all_of_them, 0), (one, 1)):
        submitted = client.job_types.decode(job.job_type, job.params)
        found = await submitted.warnings(admission)
        assert sum("Trajectory finds nothing" in each for each in found) == warnings
    with pytest.raises(InvalidParams, match="expected_tool_calls"):
        await client.submit_params(
            "evaluate-batch", {**params, "thread_ids": ["t1"], "evaluators": ["trajectory"]}
        )


@pytest.mark.parametrize(
    ("has", "refused"), [({}, True), ({"expected_tool_calls": [{"name": "track"}]}, False)]
)
@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_preview_says_it_too(
    client: Client, database: Database, has: dict[str, Any], refused: bool, is_stored: bool
) -> None:
    content = conversations({}, has)
    admission = AdmissionContext(settings=client.settings, database=database)
    params = EvaluateBatch(csv_content=content, app_id="kaira-bot", evaluators=["trajectory"])
    if is_stored:
        dataset = await params.content(admission)
        params = params.model_copy(update={"csv_content": None, "dataset_id": dataset.id})

    found = await preview.of_params(admission, params)

    kinds = {(each.kind, each.refused) for each in found.misfits}
    assert kinds - {("rules_not_asked", False)} == (
        {("evaluator_finds_nothing", True)} if refused else set()
    )
