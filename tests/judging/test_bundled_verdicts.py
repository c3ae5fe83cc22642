"""Conversations judged over HTTP, through the real SDK, by the simulated vendor."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from whole import read_csv

from evalqueue.evaluators import apps
from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.judging.judge import Judge, concurrently
from evalqueue.evaluators.judging.plan import EvaluationPlan
from evalqueue.evaluators.judging.registry import make
from evalqueue.evaluators.judging.threads import ThreadResult, evaluate_thread
from evalqueue.evaluators.providers.openai import OpenAIProvider
from evalqueue.evaluators.providers.policy import LlmCaller, Slots
from evalqueue.evaluators.providers.recorder import CallRecord
from evalqueue.evaluators.runs.summary import RunEnd, ThreadOutcome, settle, summarise
from evalqueue.evaluators.simulated import conversations
from evalqueue.evaluators.simulated.vendor.server import Behaviour, SimulatedServer


class InMemoryRecorder:
    """A recorder that stores call records in memory."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []

    is_ready = True

    async def ready(self) -> None: ...

    def record(self, call: CallRecord) -> None:
        self.records.append(call)


async def evaluated(
    app_id: str, threads: tuple[Thread, ...], behaviour: Behaviour
) -> list[ThreadResult]:
    evaluators = make(EvaluationPlan(app=apps.load(app_id)))
    async with SimulatedServer(behaviour) as server:
        provider = OpenAIProvider.open(
            name="openai", model="simulated-judge", api_key="none", base_url=f"{server.url}/v1"
        )
        try:
            judge = Judge(LlmCaller(provider, slots=Slots(16), recorder=InMemoryRecorder()))
            return await concurrently(evaluate_thread(each, evaluators, judge) for each in threads)
        finally:
            await provider.aclose()


@pytest.fixture(scope="module")
def threads() -> tuple[Thread, ...]:
    return read_csv(conversations.kaira_csv(), "kaira.csv").threads


@pytest.fixture(scope="module")
def gold() -> dict[str, Any]:
    return json.loads(conversations.kaira_gold().read_text(encoding="utf-8"))


async def test_gold_answers_come_out_as_the_gold_verdicts(
    threads: tuple[Thread, ...], gold: dict[str, Any]
) -> None:
    results = await evaluated("kaira-bot", threads, Behaviour())

    found = {
        "efficiency": {
            each.thread_id: each.result["efficiency_evaluation"]["judge_verdict"]
            for each in results
        },
        "correctness": {
            (each.thread_id, str(row["turn"])): row["judge_verdict"]
            for each in results
            for row in each.result["correctness_evaluations"]
            if row["judged"]
        },
    }
    assert [each.error for each in results if each.failed] == []
    for thread_id, verdict in found["efficiency"].items():
        assert verdict == gold["efficiency"][thread_id]["verdict"].replace("_", " ")
    for (thread_id, turn), verdict in found["correctness"].items():
        label = gold["correctness"][thread_id][turn]
        assert verdict == label["verdict"].replace("_", " ")


async def test_the_computed_figures_agree_with_the_people_who_wrote_the_gold_labels(
    threads: tuple[Thread, ...],
) -> None:
    results = await evaluated("kaira-bot", threads, Behaviour())

    rows = [row for each in results for row in each.result["correctness_evaluations"]]
    computed = [row["computed"] for row in rows if row.get("computed")]
    assert len(computed) > 40
    assert {each["consistent"] for each in computed} == {True, False}
    assert not any(each["disagrees_with_judge"] for each in computed)


async def test_a_vendor_with_faults_costs_coverage_and_invents_nothing(
    threads: tuple[Thread, ...],
) -> None:
    behaviour = Behaviour(rate_malformed=0.3, rate_refusal=0.2)
    faultless = await evaluated("kaira-bot", threads, Behaviour())
    faulty = await evaluated("kaira-bot", threads, behaviour)

    for right, found in zip(faultless, faulty, strict=True):
        assert found.columns["efficiency_verdict"] in {None, right.columns["efficiency_verdict"]}
    outcomes = [
        ThreadOutcome.of_row(
            {"thread_id": each.thread_id, "error": each.error, "result": each.result}
        )
        for each in faulty
    ]
    summary = summarise(outcomes)
    assert set(summary["failures"]) == {"judge_refused", "schema_invalid"}
    assert 0.5 < summary["coverage"]["intent"]["rate"] < 1
    assert settle(outcomes).status is RunEnd.COMPLETED_WITH_ERRORS


async def test_a_second_app_is_judged_by_its_own_menus_without_any_code(
    turn: Callable[..., Any], thread: Callable[..., Thread]
) -> None:
    order = "| Article | Price |\n|---|---|\n| Shirt | 20.00 |\n| Order total | 20.00 |"
    talk = thread(
        turn(1, "where is my parcel?", "Which order?"),
        turn(2, "return the shirt please", f"Order summary\n{order}"),
        thread_id="shop_1",
    )
    app = apps.load("retail-support")

    [found] = await evaluated("retail-support", (talk,), Behaviour())

    labels = {label.name for label in app.intents}
    assert {row["predicted_intent"] for row in found.result["intent_evaluations"]} <= labels
    assert [row["judged"] for row in found.result["correctness_evaluations"]] == [True, True]
    assert found.columns["worst_correctness"] == "PASS"
    assert found.columns["efficiency_verdict"] == "EFFICIENT"
    assert found.result["failures"] == []
