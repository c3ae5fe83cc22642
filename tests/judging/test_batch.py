"""Threads through evaluators: each evaluator its own boundary, failures beside findings."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.judging.evaluator import Coverage
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.judging.plan import EvaluationPlan
from evalqueue.evaluators.judging.registry import installed, make
from evalqueue.evaluators.judging.threads import Chosen, ThreadResult, choose, evaluate_thread
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.runs.summary import OutcomeScore, ThreadOutcome

Make = Callable[..., Any]

SUMMARY = "Meal summary\n| Food | kcal |\n|---|---|\n| Idli | 116 |\n"
INTENT = {
    "evidence": "2 idli",
    "reasoning": "food",
    "predicted_agent": "FoodAgent",
    "query_type": "logging",
    "confidence": 0.9,
}
CORRECTNESS = {
    "evidence": [],
    "calorie_sanity": {
        "reason": "",
        "stated_total_kcal": None,
        "expected_range_low": None,
        "expected_range_high": None,
        "plausible": True,
    },
    "arithmetic_consistency": {
        "reason": "",
        "items_sum_kcal": None,
        "stated_total_kcal": None,
        "macro_calories_estimate": None,
        "consistent": True,
    },
    "quantity_coherence": {"mismatches": [], "coherent": True},
    "rule_compliance": [],
    "reasoning": "",
    "verdict": "HARD_FAIL",
}
EFFICIENCY = {
    "evidence": [],
    "thread_type": "meal_logging",
    "friction_turns": [],
    "rule_compliance": [],
    "recovery_quality": "NOT_NEEDED",
    "incomplete_reason": None,
    "failure_reason": None,
    "reasoning": "",
    "task_completed": True,
    "verdict": "EFFICIENT",
}
ANSWERS: dict[str, Any] = {
    "intent": INTENT,
    "correctness": CORRECTNESS,
    "efficiency": EFFICIENCY,
}


@pytest.fixture
def evaluate(app: App, scripted: Make, turn: Make, thread: Make) -> Make:
    """Evaluate a thread with one meal summary; `failing` evaluators get no answer."""

    async def run(
        *failing: str, outcome: CallOutcome = CallOutcome.TIMEOUT, **switches: bool
    ) -> ThreadResult:
        def script(_: Any, site: Any, __: Any) -> Any:
            if site.evaluator in failing:
                return ProviderError(outcome, "no answer in time")
            return ANSWERS[site.evaluator]

        plan = EvaluationPlan(app=app, options=switches)
        talk = thread(
            turn(1, bot=SUMMARY, routed_intent="FoodAgent"),
            turn(2, "yes", "Logged your meal.", routed_intent="General", error="HTTP 500"),
        )
        return await evaluate_thread(talk, make(plan), Judge(scripted(script)))

    return run


async def test_a_thread_has_its_columns_and_its_json(evaluate: Make) -> None:
    found = await evaluate()

    assert found.columns["intent_accuracy"] == 0.5
    assert found.columns["worst_correctness"] == "HARD FAIL"
    assert found.columns["efficiency_verdict"] == "EFFICIENT"
    assert found.success_status is True
    assert not found.failed
    assert found.result["thread"] == {
        "thread_id": "thr_1",
        "user_id": "usr_1",
        "message_count": 2,
        "started_at": "2025-11-10T12:01:00+00:00",
        "duration_seconds": 60.0,
        "has_errors": True,
    }
    assert [row["turn"] for row in found.result["intent_evaluations"]] == [1, 2]
    assert [row["turn"] for row in found.result["correctness_evaluations"]] == [1, 2]
    assert found.result["efficiency_evaluation"]["verdict"] == "EFFICIENT"
    assert found.result["failures"] == []
    assert found.result["failed_evaluators"] == {}
    assert found.result["skipped_evaluators"] == []
    assert set(found.result["evaluator_versions"]) == {
        name for name, kind in installed().items() if not kind.is_optional and not kind.on_request
    }
    assert found.result["coverage"] == {
        "intent": {"judged": 2, "attempted": 2},
        "correctness": {"judged": 1, "attempted": 1},
        "efficiency": {"judged": 1, "attempted": 1},
    }


async def test_the_result_is_json_and_does_not_repeat_the_conversation(evaluate: Make) -> None:
    found = await evaluate()

    text = json.dumps(found.result, allow_nan=False)
    assert "Logged your meal." not in text
    assert "| Idli | 116 |" not in text


async def test_one_failed_evaluator_takes_nothing_from_the_others(evaluate: Make) -> None:
    found = await evaluate("efficiency")

    assert not found.failed
    assert found.columns["intent_accuracy"] == 0.5
    assert found.columns["efficiency_verdict"] is None
    assert found.result["efficiency_evaluation"] is None
    assert found.result["failed_evaluators"] == {"efficiency": "timeout: no answer in time"}
    assert found.result["failures"] == [
        {
            "evaluator": "efficiency",
            "reason": "timeout",
            "message": "no answer in time",
            "turn": None,
        }
    ]


async def test_success_is_what_efficiency_says_else_what_correctness_says_else_unknown(
    evaluate: Make,
) -> None:
    by_efficiency = await evaluate()
    by_correctness = await evaluate("efficiency")
    unknown = await evaluate("efficiency", "correctness")

    assert by_efficiency.success_status is True
    assert by_correctness.success_status is False
    assert unknown.success_status is None


async def test_a_task_that_was_not_completed_is_no_success(
    app: App, scripted: Make, turn: Make, thread: Make
) -> None:
    plan = EvaluationPlan(app=app, options={"evaluate_intent": False})
    calls = scripted(EFFICIENCY | {"task_completed": False, "verdict": "BROKEN"})

    found = await evaluate_thread(thread(turn(1)), make(plan), Judge(calls))

    assert found.columns["worst_correctness"] == "NOT APPLICABLE"
    assert found.success_status is False


async def test_a_thread_of_which_nothing_was_judged_has_failed(evaluate: Make) -> None:
    found = await evaluate("intent", "correctness", "efficiency")

    assert found.failed
    assert found.columns["intent_accuracy"] is None
    assert found.columns["worst_correctness"] is None
    assert found.error == (
        "intent: timeout: no answer in time; correctness: timeout: no answer in time; "
        "efficiency: timeout: no answer in time"
    )


async def test_a_verdict_without_a_call_does_not_hide_that_every_call_failed(
    app: App, scripted: Make, turn: Make, thread: Make
) -> None:
    evaluators = make(EvaluationPlan(app=app, options={"evaluate_efficiency": False}))
    judge = Judge(scripted(lambda *_: ProviderError(CallOutcome.TRANSIENT, "down")))

    found = await evaluate_thread(thread(turn(1, bot="Hello!")), evaluators, judge)

    assert found.columns["worst_correctness"] == "NOT APPLICABLE"
    assert found.failed


async def test_a_thread_with_nothing_to_judge_has_not_failed(
    app: App, scripted: Make, turn: Make, thread: Make
) -> None:
    plan = EvaluationPlan(app=app, options={"evaluate_intent": False, "evaluate_efficiency": False})

    found = await evaluate_thread(thread(turn(1, bot="Hello!")), make(plan), Judge(scripted()))

    assert not found.failed
    assert found.columns["worst_correctness"] == "NOT APPLICABLE"
    assert found.success_status is True


async def test_an_evaluator_that_is_off_is_named_and_leaves_null(evaluate: Make) -> None:
    found = await evaluate(evaluate_intent=False, evaluate_efficiency=False)

    assert found.result["skipped_evaluators"] == ["intent", "efficiency"]
    assert found.result["intent_evaluations"] is None
    assert set(found.columns) == {"worst_correctness"}
    assert {each.evaluator for each in found.scores} == {"correctness"}
    assert found.success_status is False


@pytest.mark.parametrize("outcome", [each for each in CallOutcome if each.stops_the_job])
async def test_what_stops_the_job_comes_out_as_itself(evaluate: Make, outcome: CallOutcome) -> None:
    with pytest.raises(ProviderError) as stopped:
        await evaluate("intent", "correctness", outcome=outcome)

    assert stopped.value.outcome is outcome


async def test_a_row_is_read_back_as_what_counts_of_it(evaluate: Make) -> None:
    found = await evaluate("correctness")

    versions = found.result["evaluator_versions"]
    scores = [
        (each.evaluator, each.version, each.name, each.value)
        for each in found.scores
        if each.turn is None and each.value is not None
    ]
    row = {
        "thread_id": found.thread_id, "success_status": found.success_status,
        "error": found.error, "result": found.result, "scores": scores,
    }  # fmt: skip
    outcome = ThreadOutcome.of_row(json.loads(json.dumps(row)))

    assert outcome == ThreadOutcome(
        thread_id="thr_1",
        scores=(
            OutcomeScore(
                evaluator="intent", version=versions["intent"], name="accuracy", value=0.5
            ),
            OutcomeScore(
                evaluator="efficiency", version=versions["efficiency"], name="verdict",
                value="EFFICIENT",
            ),
            OutcomeScore(
                evaluator="efficiency", version=versions["efficiency"], name="task_completed",
                value=True,
            ),
        ),
        success_status=True,
        failures={"timeout": 1},
        coverage={
            "intent": Coverage(judged=2, attempted=2),
            "correctness": Coverage(judged=0, attempted=1),
            "efficiency": Coverage(judged=1, attempted=1),
        },
        evaluator_versions=versions,
    )  # fmt: skip


async def test_a_thread_has_a_score_for_all_that_was_measured_and_for_all_that_failed(
    evaluate: Make,
) -> None:
    found = await evaluate("correctness")

    scores = {(each.evaluator, each.name, each.turn): each for each in found.scores}
    assert {key: (each.value, each.failure) for key, each in scores.items()} == {
        ("intent", "accuracy", None): (0.5, None),
        ("intent", "agent", 1): ("FoodAgent", None),
        ("intent", "correct", 1): (True, None),
        ("intent", "agent", 2): ("FoodAgent", None),
        ("intent", "correct", 2): (False, None),
        ("correctness", "worst", None): (None, "timeout"),
        ("correctness", "verdict", 1): (None, "timeout"),
        ("efficiency", "verdict", None): ("EFFICIENT", None),
        ("efficiency", "task_completed", None): (True, None),
    }
    assert scores["intent", "agent", 2].expected == "General"
    assert {each.version for each in found.scores} <= set(
        found.result["evaluator_versions"].values()
    )


def test_threads_named_are_taken_in_the_order_they_are_named_and_unknown_ones_reported() -> None:
    assert choose("abc", thread_ids=["c", "x", "a", "c"], sample_size=1) == Chosen(
        thread_ids=("c", "a"), unknown=("x",)
    )


def test_naming_no_thread_is_not_the_same_as_naming_none() -> None:
    assert choose("abc", thread_ids=[]).thread_ids == ()
    assert choose("abca").thread_ids == ("a", "b", "c")


IDS = st.lists(st.text(max_size=5), max_size=30)


@given(IDS, st.integers(0, 40), st.integers())
def test_a_sample_is_stable_and_holds_every_smaller_one(
    ids: list[str], size: int, seed: int
) -> None:
    sample = choose(ids, sample_size=size, seed=seed).thread_ids
    larger = choose(ids, sample_size=size + 1, seed=seed).thread_ids
    backwards = choose(reversed(ids), sample_size=size, seed=seed).thread_ids

    assert len(sample) == min(size, len(set(ids)))
    assert set(sample) == set(backwards)
    assert set(sample) <= set(larger)
    assert list(sample) == sorted(sample, key=ids.index)


def test_another_seed_draws_another_sample() -> None:
    ids = [f"thr_{n}" for n in range(100)]

    samples = {choose(ids, sample_size=10, seed=seed).thread_ids for seed in range(5)}

    assert len(samples) == 5
