"""Intent: compared message by message; what is not known is None."""

from collections.abc import Callable
from typing import Any

import pytest

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.judging.builtin.intent import IntentEvaluator
from evalqueue.evaluators.judging.judge import Judge, Parameters
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError

Make = Callable[..., Any]


def label(agent: str = "FoodAgent", query_type: str = "logging", **more: Any) -> dict[str, Any]:
    return {
        "evidence": "2 idli",
        "reasoning": "food",
        "predicted_agent": agent,
        "query_type": query_type,
        "confidence": 0.9,
    } | more


async def test_each_message_is_compared_with_the_routers_label(
    app: App, scripted: Make, turn: Make, thread: Make
) -> None:
    talk: Thread = thread(
        turn(1, routed_intent="food agent", routed_query_type="Logging"),
        turn(2, routed_intent="General", routed_query_type="question"),
    )

    found = await IntentEvaluator(app).evaluate(talk, Judge(scripted(lambda *_: label())))

    first, second = found.details
    assert found.headline == 0.5
    assert (first["is_correct_intent"], first["is_correct_query_type"]) == (True, True)
    assert (second["is_correct_intent"], second["is_correct_query_type"]) == (False, False)
    assert first == {
        "turn": 1,
        "response_id": "resp_1",
        "predicted_intent": "FoodAgent",
        "predicted_query_type": "logging",
        "confidence": 0.9,
        "expected_intent": "food agent",
        "expected_query_type": "Logging",
        "is_correct_intent": True,
        "is_correct_query_type": True,
        "reasoning": "food",
        "evidence": [{"turn": 1, "quote": "2 idli", "in_transcript": True}],
    }


@pytest.mark.parametrize("missing", [None, "", "  "])
async def test_a_missing_ground_truth_is_null_not_false(
    app: App, scripted: Make, turn: Make, thread: Make, missing: str | None
) -> None:
    talk = thread(turn(1, routed_intent=missing, routed_query_type=missing))

    found = await IntentEvaluator(app).evaluate(talk, Judge(scripted(label())))

    assert found.headline is None
    assert found.failures == ()
    assert found.details[0]["is_correct_intent"] is None
    assert found.details[0]["is_correct_query_type"] is None
    assert found.details[0]["predicted_intent"] == "FoodAgent"


async def test_one_failed_message_is_one_failure_and_the_others_stay(
    app: App, scripted: Make, turn: Make, thread: Make
) -> None:
    talk = thread(*(turn(n, routed_intent="FoodAgent") for n in (1, 2, 3)))
    calls = scripted(
        lambda _, site, __: (
            ProviderError(CallOutcome.TIMEOUT, "late") if site.turn == 2 else label()
        )
    )

    found = await IntentEvaluator(app).evaluate(talk, Judge(calls))

    assert [row["turn"] for row in found.details] == [1, 3]
    assert found.headline == 1.0
    assert [(each.turn, each.reason) for each in found.failures] == [(2, CallOutcome.TIMEOUT)]


async def test_a_failing_judge_leaves_no_accuracy_rather_than_zero(
    app: App, scripted: Make, turn: Make, thread: Make
) -> None:
    talk = thread(turn(1, routed_intent="FoodAgent"))
    calls = scripted(lambda *_: ProviderError(CallOutcome.TRANSIENT, "down"))

    found = await IntentEvaluator(app).evaluate(talk, Judge(calls))

    assert found.headline is None
    assert found.details == []


async def test_the_judge_sees_the_turns_before_and_neither_the_answer_nor_the_routers_label(
    app: App, scripted: Make, turn: Make, thread: Make
) -> None:
    turns: list[Turn] = [
        turn(n, f"said-{n}", f"answered-{n}", has_image=n == 4, routed_intent="SecretAgent")
        for n in range(1, 6)
    ]
    calls = scripted(lambda *_: label())

    await IntentEvaluator(app).evaluate(thread(*turns), Judge(calls))

    prompt = calls.asked[-1][0].prompt
    assert "Turn to judge: 5" in prompt.splitlines()
    assert 'Thread: "thr_1"' in prompt.splitlines()
    assert "said-5" in prompt
    assert "answered-5" not in prompt
    assert "answered-4" in prompt
    assert "User (image attached):" in prompt
    assert "said-1" not in prompt
    assert "SecretAgent" not in prompt + calls.asked[-1][0].system


async def test_the_menu_stays_beside_the_jobs_own_taxonomy(
    app: App, scripted: Make, turn: Make, thread: Make
) -> None:
    calls = scripted(lambda *_: label())

    await IntentEvaluator(app, taxonomy="FoodAgent is for $food.").evaluate(
        thread(turn(1)), Judge(calls)
    )

    request = calls.asked[0][0]
    assert "FoodAgent is for $food." in request.system
    assert "FoodAgent, General" in request.system
    assert request.schema["properties"]["predicted_agent"]["enum"] == ["FoodAgent", "General"]


async def test_the_labels_of_the_jobs_own_taxonomy_come_back(
    app: App, scripted: Make, turn: Make, thread: Make
) -> None:
    own = "Agents:\n- Billing: money\n- Network: calls and data"
    calls = scripted(lambda *_: label(agent="billing", evidence="said-1"))

    found = await IntentEvaluator(app, taxonomy=own).evaluate(
        thread(turn(1, routed_intent="Billing")), Judge(calls)
    )

    request = calls.asked[0][0]
    properties = request.schema["properties"]
    assert properties["predicted_agent"]["enum"] == ["Billing", "Network"]
    assert properties["query_type"]["enum"] == ["logging", "question"]
    assert "predicted_agent must be one of: Billing, Network" in request.system
    assert "FoodAgent" not in request.system
    assert "- logging: records" in request.system
    assert found.details[0]["predicted_intent"] == "Billing"
    assert found.headline == 1.0


@pytest.mark.parametrize("blank", ["", " \n "])
async def test_a_blank_taxonomy_is_the_profiles(
    app: App, scripted: Make, turn: Make, thread: Make, blank: str
) -> None:
    calls = scripted(lambda *_: label())

    await IntentEvaluator(app, taxonomy=blank).evaluate(thread(turn(1)), Judge(calls))

    assert "- FoodAgent: logs food" in calls.asked[0][0].system


async def test_evidence_that_nobody_said_is_flagged(
    app: App, scripted: Make, turn: Make, thread: Make
) -> None:
    calls = scripted(label(evidence="3 dosas"))

    found = await IntentEvaluator(app).evaluate(thread(turn(1)), Judge(calls))

    assert found.details[0]["evidence"][0]["in_transcript"] is False


def test_all_that_can_change_a_verdict_changes_the_version(app: App) -> None:
    versions = {
        IntentEvaluator(app).version,
        IntentEvaluator(app, taxonomy="mine").version,
        IntentEvaluator(app, parameters=Parameters(temperature=1.0)).version,
    }

    assert len(versions) == 3
    assert IntentEvaluator(app).version == IntentEvaluator(app, taxonomy=" ").version
