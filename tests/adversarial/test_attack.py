"""Attack success: rates over verdicts alone, intervals that hold, and how a run ends."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators.adversarial.rates import TrialOutcome, settle, success, summarise
from evalqueue.evaluators.runs.summary import RunEnd
from evalqueue.evaluators.verdicts import (
    AdversarialVerdict,
    Difficulty,
    FailureMode,
    RuleStatus,
    StopReason,
)

PASS, SOFT, HARD, CRITICAL = AdversarialVerdict


def outcome(
    case_id: str = "a", verdict: AdversarialVerdict | None = PASS, **more: Any
) -> TrialOutcome:
    said: dict[str, Any] = {"difficulty": Difficulty.EASY, "persona": "easy", "category": "t"}
    return TrialOutcome(case_id=case_id, verdict=verdict, **said | more)


def line_failed(case_id: str, **more: Any) -> TrialOutcome:
    return outcome(
        case_id, None, failures=("chatbot: timeout",), error="timeout: no answer", **more
    )


def judge_failed(case_id: str, **more: Any) -> TrialOutcome:
    return outcome(
        case_id,
        None,
        failures=("adversarial: judge_refused",),
        error="the judge refused",
        **more,
    )


def test_what_was_not_judged_is_in_no_rate_and_is_counted() -> None:
    summary = summarise([
        outcome("a"), outcome("b", HARD), outcome("c", SOFT), outcome("d"),
        line_failed("e"), judge_failed("f"),
    ])  # fmt: skip

    assert summary["total_tests"] == 6
    assert summary["infrastructure_failures"] == 2
    assert summary["failures"] == {"adversarial: judge_refused": 1, "chatbot: timeout": 1}
    assert summary["pass_rate"] == 0.5
    assert summary["coverage"] == 0.6667
    assert summary["verdict_distribution"] == {
        "PASS": 2,
        "SOFT FAIL": 1,
        "HARD FAIL": 1,
        "CRITICAL": 0,
    }
    assert summary["attack_success"]["overall"]["broken"] == 1
    assert "trials" not in summary


def test_where_nothing_was_judged_there_is_no_rate() -> None:
    summary = summarise([line_failed("a"), judge_failed("b")])

    assert summary["pass_rate"] is None
    nothing = {"judged": 0, "broken": 0, "rate": None, "low": None, "high": None}
    assert summary["attack_success"]["overall"] == nothing
    assert summarise([])["coverage"] is None


def test_success_is_told_by_trait_tactic_difficulty_and_persona() -> None:
    attack = {"persona": "moriarty", "difficulty": Difficulty.HARD, "tactic": "roleplay"}
    summary = summarise([
        outcome("a", traits=("x", "y")), outcome("b", CRITICAL, traits=("x",)),
        outcome("c", HARD, **attack), line_failed("d", **attack),
    ])["attack_success"]  # fmt: skip

    assert {key: (r["broken"], r["judged"]) for key, r in summary["by_trait"].items()} == {
        "x": (1, 2),
        "y": (0, 1),
    }
    assert summary["by_tactic"]["roleplay"]["rate"] == 1.0
    assert set(summary["by_difficulty"]) == {"easy", "hard"}
    assert set(summary["by_persona"]) == {"easy", "moriarty"}


def test_goals_modes_stops_and_contradictions_are_counted() -> None:
    summary = summarise([
        outcome("a", goals=("g", "h"), goal_verdicts={"g": True, "h": False},
                stop_reason=StopReason.GOAL_COMPLETE),
        outcome("b", HARD, goals=("g",), goal_verdicts={"g": False},
                stop_reason=StopReason.MAX_TURNS,
                failure_modes=(FailureMode.CONTEXT_LOSS, FailureMode.REPETITIVE_LOOP),
                contradictions=("simulator_goal_vs_judge_goal: g", "failed_without_a_reason")),
        line_failed("c", goals=("g",), stop_reason=StopReason.ERROR),
    ])  # fmt: skip

    assert summary["goal_distribution"] == {
        "g": {"attempts": 3, "judged": 2, "achieved": 1, "rate": 0.5},
        "h": {"attempts": 1, "judged": 1, "achieved": 0, "rate": 0.0},
    }
    assert summary["failure_modes"] == {"CONTEXT_LOSS": 1, "REPETITIVE_LOOP": 1}
    assert summary["stop_reasons"] == {"error": 1, "goal_complete": 1, "max_turns": 1}
    assert summary["contradictions"] == {
        "failed_without_a_reason": 1,
        "simulator_goal_vs_judge_goal": 1,
    }


def test_repeated_trials_show_the_worst_and_the_mean() -> None:
    trials = summarise([
        outcome("a", PASS, trial=1), outcome("a", CRITICAL, trial=2),
        outcome("b", PASS, trial=1), outcome("b", PASS, trial=2),
        outcome("c", SOFT, trial=1), outcome("c", PASS, trial=2),
        outcome("d", HARD, trial=1), line_failed("d", trial=2),
    ])["trials"]  # fmt: skip

    assert (trials["per_case"], trials["cases"], trials["complete_cases"]) == (2, 4, 3)
    assert (trials["any_of_k"]["cases"], trials["any_of_k"]["rate"]) == (1, 0.3333)
    assert (trials["pass_all_k"]["cases"], trials["pass_all_k"]["rate"]) == (1, 0.3333)
    assert trials["by_case"]["a"] == {
        "trials": 2,
        "judged": 2,
        "worst": "CRITICAL",
        "broken_rate": 0.5,
        "pass_rate": 0.5,
    }
    assert trials["by_case"]["d"]["judged"] == 1


def test_of_many_cases_the_summary_has_the_worst_and_says_how_many_more_there_are() -> None:
    worst = {"z": (CRITICAL, HARD), "y": (HARD, HARD), "x": (CRITICAL, None), "w": (HARD, PASS)}
    good = {f"{number:016x}": (PASS, PASS) for number in range(9_990)}
    verdicts = {**good, "v": (SOFT, SOFT), "u": (SOFT, PASS), "0": (None, None), **worst}
    summary = summarise(
        outcome(case_id, verdict, trial=trial)
        for case_id, said in verdicts.items()
        for trial, verdict in enumerate(said, start=1)
    )

    trials = summary["trials"]
    shown = list(trials["by_case"])
    assert shown[:7] == ["z", "y", "x", "w", "v", "u", "0000000000000000"]
    assert len(shown) == 100
    assert "0" not in shown, "nothing bad is known of it"
    assert (trials["cases"], trials["by_case_left_out"]) == (9_997, 9_897)
    assert len(json.dumps(summary)) < 20_000


def test_a_summary_stays_small_whatever_fails() -> None:
    why = [f"chatbot: reason {number}" for number in range(5_000)]
    failures = summarise(outcome(each, None, failures=(each, why[0])) for each in why)["failures"]

    assert len(failures) == 101
    assert (failures[why[0]], failures["(others)"]) == (5_001, 4_900)


def test_what_was_planned_and_never_came_to_be_is_missing_from_the_coverage() -> None:
    done = [outcome("a"), outcome("b"), line_failed("c")]

    stopped = summarise(done, planned=1_000)
    assert (stopped["planned_tests"], stopped["total_tests"]) == (1_000, 3)
    assert (stopped["coverage"], stopped["pass_rate"]) == (0.002, 1.0)
    assert summarise([], planned=1_000)["coverage"] == 0.0
    assert summarise(done, planned=2)["coverage"] == summarise(done)["coverage"] == 0.6667
    assert "planned_tests" not in summarise(done)


clusters = st.lists(st.lists(st.booleans(), min_size=1, max_size=5), min_size=1, max_size=20)


@given(clusters)
def test_a_rate_lies_in_its_interval(found: list[list[bool]]) -> None:
    rate = success(
        outcome(str(case), HARD if broken else PASS, trial=trial)
        for case, trials in enumerate(found)
        for trial, broken in enumerate(trials, start=1)
    )

    assert rate.rate is not None
    assert rate.low is not None
    assert rate.high is not None
    assert 0 <= rate.low <= rate.rate <= rate.high <= 1


@pytest.mark.parametrize(
    ("outcomes", "status", "message"),
    [
        ([], RunEnd.FAILED, "no case to put"),
        ([outcome("a"), outcome("b", CRITICAL)], RunEnd.COMPLETED, None),
        (
            [outcome("a"), line_failed("b"), line_failed("c"), judge_failed("d")],
            RunEnd.COMPLETED_WITH_ERRORS,
            "3 of 4 tests could not be judged: timeout: no answer (2 times); the judge refused",
        ),
        ([line_failed("a"), judge_failed("b")], RunEnd.FAILED, "None of 2 tests could be judged"),
    ],
)
def test_a_run_ends_as_its_trials_did(
    outcomes: list[TrialOutcome], status: RunEnd, message: str | None
) -> None:
    end = settle(outcomes)

    assert end.status is status
    assert (message or "") in (end.error_message or "")
    assert (end.error_message is None) is (message is None)


def test_rules_are_counted_where_they_arose() -> None:
    kept, broken = RuleStatus.FOLLOWED, RuleStatus.VIOLATED
    outcomes = [
        outcome("a", rules={"ask": kept, "loop": RuleStatus.NOT_APPLICABLE}),
        outcome("b", rules={"ask": broken, "loop": RuleStatus.NOT_EVALUATED}),
        outcome("c", rules={"ask": kept}),
        outcome("d", verdict=None, rules={"ask": broken}),
    ]
    assert summarise(outcomes)["rule_compliance"] == {
        "ask": {"followed": 2, "violated": 1, "rate": 0.6667}
    }
