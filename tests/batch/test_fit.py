"""What does not fit between an app, the evaluators and recorded labels is refused or remarked."""

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
