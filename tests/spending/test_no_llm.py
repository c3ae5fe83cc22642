"""A job whose evaluators ask no judge needs no key and no model, and costs nothing."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from costing import query, run_of, work
from tests.apps.conftest import TELECOM

from evalqueue import Client, Job, JobStatus
from evalqueue.errors import InvalidParams
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.apps import documents
from evalqueue.evaluators.apps import store as apps
from evalqueue.evaluators.apps.documents import Notation
from evalqueue.evaluators.batch import preview
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Database
from evalqueue.settings import Settings

CHECKS = """
[[checks]]
name = "short"
kind = "length"
maximum = 20
"""
ROWS = [{"thread_id": f"t{n}", "question": "When?", "answer": "On Monday." * n} for n in (1, 2, 3)]
DATA = "thread_id,question,answer\n" + "".join(",".join(row.values()) + "\n" for row in ROWS)


@pytest.fixture
async def saved(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an app with checks, and no key of any provider."""
    app = documents.read(TELECOM + CHECKS, Notation.TOML, where="app.toml")
    async with (await client.database()).transaction() as connection:
        await apps.add(connection, app, owner="default")
    monkeypatch.delenv("EVALQUEUE_LLM_PROVIDER")
    monkeypatch.delenv("EVALQUEUE_SIMULATED_URL")


@pytest.fixture
def done(saved: None, client: Client, dsn: str) -> Callable[..., Any]:
    async def done(**params: Any) -> Job:
        given = {"csv_content": DATA, "app_id": "telecom", **params}
        job = await client.submit(EvaluateBatch(**given))
        await work(dsn)
        return await client.get(job.id)

    return done


@pytest.mark.parametrize(
    "params",
    [
        {"evaluators": ["checks"]},
        {"evaluators": ["checks", "trajectory"]},
        {"evaluate_intent": False, "evaluate_correctness": False, "evaluate_efficiency": False},
        {"evaluators": ["checks"], "mode": "economy"},
        {"evaluators": ["checks"], "llm_provider": "openai", "llm_model": "gpt-4o"},
        {"evaluators": ["checks"], "max_cost": "1"},
    ],
    ids=json.dumps,
)
async def test_it_runs_without_a_key_though_the_cap_is_used_up(
    done: Callable[..., Any], database: Database, monkeypatch: pytest.MonkeyPatch,
    params: dict[str, Any],
):  # fmt: skip
    monkeypatch.setenv("EVALQUEUE_MONTHLY_CAPS", '{"default": "0"}')

    job = await done(**params)

    assert job.status is JobStatus.COMPLETED, job.error_message
    assert job.result is not None
    assert (job.result["llm_calls"], job.result["cost_usd"]) == (0, "0")
    (row,) = await query(
        database, "SELECT llm_provider, llm_model FROM eval_runs WHERE id = %s", run_of(job)
    )
    assert row == (None, None)
    passed = await query(
        database,
        "SELECT thread_id, value_boolean FROM scores"
        " WHERE run_id = %s AND name = 'passed' ORDER BY 1",
        run_of(job),
    )
    assert passed == [("t1", True), ("t2", True), ("t3", False)]


async def test_what_may_ask_a_judge_still_needs_a_key(done: Callable[..., Any]):
    for params in ({}, {"evaluators": ["checks", "intent"]}, {"evaluators": ["tone"]}):
        with pytest.raises(InvalidParams, match="There is no key for any provider"):
            await done(**params)


async def test_its_preview_says_that_it_costs_nothing(
    saved: None, client: Client, database: Database
):
    admission = AdmissionContext(settings=Settings(), database=database, owner="default")
    params = EvaluateBatch(csv_content=DATA, app_id="telecom", evaluators=["checks"])

    found = await preview.of_params(admission, params)

    assert found.llm_calls is not None
    assert found.llm_calls.total == 0
    assert found.estimate is not None
    assert found.estimate.as_json() == {
        "calls": 0,
        "tokens_in": {"expected": 0, "low": 0, "high": 0},
        "tokens_out": {"expected": 0, "low": 0, "high": 0},
        "cost_usd": {"expected": "0", "low": "0", "high": "0"},
        "recorded_calls": 0,
        "errors": [],
    }


async def test_what_was_checked_is_not_checked_again_whatever_model_was_asked_beside(
    done: Callable[..., Any],
):
    await done(evaluators=["checks"])

    again = await done(evaluators=["checks"], skip_evaluated=True)

    assert again.result is not None
    assert again.result["skipped_evaluated"] == len(ROWS)
