"""A run's figures: what was not measured is left out, and every gap is counted."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators.judging.evaluator import Coverage
from evalqueue.evaluators.judging.registry import BUILT_IN
from evalqueue.evaluators.runs import summary
from evalqueue.evaluators.runs.summary import (
    OutcomeScore,
    RunEnd,
    Settlement,
    ThreadOutcome,
    settle,
)

EVALUATORS = [kind.declaration for kind in BUILT_IN]
COLUMNS = {each.column: each for each in EVALUATORS}


def outcome(thread_id: str = "thr_1", *, version: str = "1", **more: Any) -> ThreadOutcome:
    """An outcome; headlines by their columns."""
    scores = tuple(
        OutcomeScore(
            evaluator=COLUMNS[column].name, version=version, name=COLUMNS[column].headline,
            value=more.pop(column),
        )
        for column in [each for each in more if each in COLUMNS]
    )  # fmt: skip
    return ThreadOutcome(thread_id=thread_id, scores=scores, **more)


def summarise(outcomes: list[ThreadOutcome]) -> dict[str, Any]:
    return summary.summarise(outcomes, EVALUATORS)


def test_the_average_is_over_threads_that_have_an_accuracy() -> None:
    summed = summarise(
        [outcome(intent_accuracy=1.0), outcome(intent_accuracy=2 / 3), outcome(), outcome()]
    )

    assert summed["avg_intent_accuracy"] == 0.8333


def test_an_accuracy_of_zero_is_measured() -> None:
    assert summarise([outcome(intent_accuracy=0.0)])["avg_intent_accuracy"] == 0.0


def test_what_nobody_measured_has_no_key() -> None:
    summed = summarise([outcome()])

    assert summed == {
        "total_threads": 1,
        "completed": 1,
        "errors": 0,
        "coverage": {},
        "failures": {},
        "evaluator_versions": {},
    }


def test_a_thread_with_one_failed_evaluator_counts_with_its_other_figures() -> None:
    summed = summarise(
        [
            outcome(
                intent_accuracy=0.5,
                worst_correctness="PASS",
                failures={"timeout": 1},
                coverage={
                    "intent": Coverage(judged=2, attempted=2),
                    "efficiency": Coverage(judged=0, attempted=1),
                },
            )
        ]
    )

    assert (summed["completed"], summed["errors"]) == (1, 0)
    assert summed["avg_intent_accuracy"] == 0.5
    assert summed["correctness_verdicts"] == {"PASS": 1}
    assert "efficiency_verdicts" not in summed
    assert summed["coverage"]["efficiency"] == {"judged": 0, "attempted": 1, "rate": 0.0}
    assert summed["failures"] == {"timeout": 1}


def test_verdicts_are_counted_by_thread() -> None:
    summed = summarise(
        [
            outcome(worst_correctness="PASS", efficiency_verdict="BROKEN"),
            outcome(worst_correctness="NOT APPLICABLE", efficiency_verdict="BROKEN"),
            outcome(worst_correctness="PASS"),
        ]
    )

    assert summed["correctness_verdicts"] == {"NOT APPLICABLE": 1, "PASS": 2}
    assert summed["efficiency_verdicts"] == {"BROKEN": 2}


def test_coverage_is_judged_over_attempted_of_all_threads() -> None:
    coverage = {"correctness": Coverage(judged=1, attempted=2)}
    nothing_to_do = {"correctness": Coverage()}

    summed = summarise([outcome(coverage=coverage), outcome(coverage=nothing_to_do)] * 2)

    assert summed["coverage"] == {"correctness": {"judged": 2, "attempted": 4, "rate": 0.5}}
    assert summarise([outcome(coverage=nothing_to_do)])["coverage"]["correctness"]["rate"] is None


def test_a_run_whose_threads_were_judged_by_two_versions_says_so() -> None:
    summed = summarise(
        [outcome(evaluator_versions={"intent": each}) for each in ("intent/2:b", "intent/1:a")]
    )

    assert summed["evaluator_versions"] == {"intent": ["intent/1:a", "intent/2:b"]}


def test_scores_of_two_versions_are_never_averaged_together() -> None:
    summed = summarise(
        [outcome(intent_accuracy=1.0), outcome(intent_accuracy=0.0, version="2"), outcome()]
    )

    assert "avg_intent_accuracy" not in summed
    assert [(each["version"], each["measured"], each["mean"]) for each in summed["scores"]] == [
        ("1", 1, 1.0),
        ("2", 1, 0.0),
    ]


def test_a_run_without_a_gap_is_completed() -> None:
    assert settle([outcome(), outcome()]) == Settlement(status=RunEnd.COMPLETED)


def test_a_run_with_failed_threads_is_completed_with_errors() -> None:
    end = settle([outcome(), outcome(error="intent: late"), outcome(error="intent: late")])

    assert end.status is RunEnd.COMPLETED_WITH_ERRORS
    assert end.error_message == "2 of 3 thread evaluations failed: intent: late (2 times)"


def test_a_run_without_any_result_is_failed_with_the_first_reasons() -> None:
    end = settle([outcome(error=f"reason {n}\ntraceback") for n in range(5)])

    assert end.status is RunEnd.FAILED
    assert end.error_message == (
        "All 5 thread evaluations failed: reason 0; reason 1; reason 2; and 2 more reasons"
    )


def test_missing_verdicts_are_not_passed_over_because_their_threads_have_others() -> None:
    end = settle(
        [
            outcome(
                intent_accuracy=1.0,
                failures={"timeout": 1},
                coverage={
                    "intent": Coverage(judged=2, attempted=2),
                    "efficiency": Coverage(judged=0, attempted=1),
                },
            )
        ]
    )

    assert end.status is RunEnd.COMPLETED_WITH_ERRORS
    assert end.error_message == ("Some verdicts are missing: efficiency judged 0 of 1 (timeout: 1)")


def test_a_run_of_no_threads_is_failed_and_says_so() -> None:
    end = settle([])

    assert end.status is RunEnd.FAILED
    assert "none was chosen" in str(end.error_message)


def test_a_row_without_its_json_is_read_as_far_as_it_goes() -> None:
    row = {"thread_id": "thr_9", "error": "Thread not found in the data", "result": None}

    assert ThreadOutcome.of_row(row) == outcome("thr_9", error="Thread not found in the data")


OUTCOMES = st.lists(
    st.fixed_dictionaries(
        {"error": st.none() | st.just("late")},
        optional={
            "intent_accuracy": st.floats(0, 1),
            "worst_correctness": st.sampled_from(["PASS", "CRITICAL"]),
        },
    ).map(lambda found: outcome("t", **found)),
    max_size=20,
)


@given(OUTCOMES)
def test_the_figures_add_up_whatever_happened(outcomes: list[ThreadOutcome]) -> None:
    summed = summarise(outcomes)

    assert summed["completed"] + summed["errors"] == summed["total_threads"] == len(outcomes)
    counted = sum(summed.get("correctness_verdicts", {}).values())
    assert counted == sum(
        score.evaluator == "correctness" for each in outcomes for score in each.scores
    )
    assert (settle(outcomes).status is RunEnd.FAILED) == (summed["completed"] == 0)
    assert 0 <= summed.get("avg_intent_accuracy", 0) <= 1


@given(st.randoms(use_true_random=False), OUTCOMES)
def test_the_order_of_the_threads_changes_no_count(random: Any, outcomes: Any) -> None:
    shuffled = random.sample(outcomes, len(outcomes))

    assert summarise(shuffled).get("correctness_verdicts") == summarise(outcomes).get(
        "correctness_verdicts"
    )
