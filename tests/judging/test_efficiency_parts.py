"""Efficiency of conversations that are too long for the judge: judged in parts, and combined."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.judging.builtin.efficiency import EfficiencyEvaluator
from evalqueue.evaluators.judging.evaluator import Evaluation
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError

Make = Callable[..., Any]
TOO_LONG = ProviderError(CallOutcome.CONTEXT_TOO_LONG, "too long")


def opinion(verdict: str, *, completed: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "evidence": [],
        "thread_type": "meal_logging",
        "friction_turns": [],
        "rule_compliance": [],
        "recovery_quality": "NOT_NEEDED",
        "incomplete_reason": None,
        "failure_reason": None,
        "reasoning": verdict,
        "task_completed": completed,
        "verdict": verdict,
    } | more


def friction(turn: int, cause: str = "BOT") -> dict[str, Any]:
    return {"turn": turn, "description": "asked again", "cause": cause}


def shown(request: Any) -> list[int]:
    return [int(number) for number in re.findall(r"^Turn (\d+)", request.prompt, re.MULTILINE)]


@pytest.fixture
def evaluate(app: App, scripted: Make, thread: Make, turn: Make) -> Make:
    async def run(turns: int, room: int, answers: dict[int, Any]) -> tuple[Evaluation, list[Any]]:
        """Evaluate so many turns with a judge that reads some of them at once; its answers are
        named by the first turn that is shown."""

        def script(request: Any, *_: Any) -> Any:
            numbers = shown(request)
            return TOO_LONG if len(numbers) > room else answers[numbers[0]]

        calls = scripted(script)
        first = turn(1, "message 1.", system="Be kind.")
        others = (turn(number, f"message {number}.") for number in range(2, turns + 1))
        talk = thread(first, *others)
        return await EfficiencyEvaluator(app).evaluate(talk, Judge(calls)), calls.asked

    return run


async def test_a_conversation_that_fits_is_asked_about_once(evaluate: Make):
    found, asked = await evaluate(20, 20, {1: opinion("ACCEPTABLE")})

    assert len(asked) == 1
    assert "Shown is a part" not in asked[0][0].prompt
    assert found.headline == "ACCEPTABLE"
    assert "parts" not in found.details


async def test_parts_overlap_and_cover_all_turns(evaluate: Make):
    found, asked = await evaluate(40, 15, dict.fromkeys((1, 10, 19, 28), opinion("ACCEPTABLE")))

    fitting = [request for request, _, _ in asked if len(shown(request)) <= 15]
    assert [(shown(each)[0], shown(each)[-1]) for each in fitting] == [
        (1, 13), (10, 22), (19, 31), (28, 40),
    ]  # fmt: skip
    assert "Shown is a part: turns 10 to 22 of 40." in fitting[1].prompt
    assert all("Be kind." in each.prompt for each in fitting)
    assert [each["first_turn"] for each in found.details["parts"]] == [1, 10, 19, 28]
    assert found.headline == "ACCEPTABLE"
    assert found.failures == ()


@pytest.mark.parametrize(
    ("first", "last", "verdict", "completed"),
    [
        (opinion("EFFICIENT"), opinion("EFFICIENT"), "ACCEPTABLE", True),
        (opinion("INCOMPLETE", completed=False), opinion("ACCEPTABLE"), "ACCEPTABLE", True),
        (opinion("FRICTION", friction_turns=[friction(3)]), opinion("ACCEPTABLE"),
         "FRICTION", True),
        (opinion("ACCEPTABLE", friction_turns=[friction(3, "USER")]), opinion("ACCEPTABLE"),
         "ACCEPTABLE", True),
        (opinion("ACCEPTABLE"), opinion("INCOMPLETE", completed=False), "INCOMPLETE", False),
        (opinion("ACCEPTABLE"), opinion("BROKEN", completed=False), "BROKEN", False),
        (opinion("FRICTION", friction_turns=[friction(3)]),
         opinion("ACCEPTABLE", completed=False), "BROKEN", False),
        (opinion("ACCEPTABLE"), opinion("NOT_APPLICABLE", completed=False, thread_type="greeting"),
         "ACCEPTABLE", True),
        (opinion("NOT_APPLICABLE", thread_type="greeting"),
         opinion("NOT_APPLICABLE", thread_type="greeting"), "NOT APPLICABLE", True),
    ],
)  # fmt: skip
async def test_the_verdict_follows_from_the_parts(
    evaluate: Make, first: dict[str, Any], last: dict[str, Any], verdict: str, completed: bool
):
    found, _ = await evaluate(20, 12, {1: first, 9: last})

    assert (found.headline, found.task_completed) == (verdict, completed)


async def test_what_the_parts_found_is_put_together(evaluate: Make):
    violated = {"rule_id": "ask_time_if_missing", "evidence": "late", "status": "VIOLATED"}
    first = opinion(
        "FRICTION",
        friction_turns=[friction(3), friction(10, "USER"), friction(18)],  # 18 is not in this part
        rule_compliance=[violated],
        recovery_quality="PARTIAL",
        evidence=[{"turn": 2, "quote": "message 2"}],
    )
    last = opinion(
        "ACCEPTABLE",
        friction_turns=[friction(10), friction(15, "USER")],
        rule_compliance=[violated | {"status": "FOLLOWED"}],
        evidence=[{"turn": 20, "quote": "message 20"}],
    )

    found, _ = await evaluate(20, 12, {1: first, 9: last})

    details = found.details
    assert [(each["turn"], each["cause"]) for each in details["friction_turns"]] == [
        (3, "BOT"), (10, "BOT"), (15, "USER"),
    ]  # fmt: skip
    assert [each["status"] for each in details["rule_compliance"]] == ["VIOLATED"]
    assert details["recovery_quality"] == "PARTIAL"
    assert [each["in_transcript"] for each in details["evidence"]] == [True, True]
    assert details["reasoning"] == "Turns 1 to 12: FRICTION\nTurns 9 to 20: ACCEPTABLE"


@pytest.mark.parametrize(
    ("turns", "room", "last", "reason"),
    [
        (20, 12, ProviderError(CallOutcome.TIMEOUT, "late"), CallOutcome.TIMEOUT),
        (20, 12, TOO_LONG, CallOutcome.CONTEXT_TOO_LONG),
        (7, 3, opinion("ACCEPTABLE"), CallOutcome.CONTEXT_TOO_LONG),
    ],
)
async def test_a_conversation_of_which_a_part_was_not_judged_has_no_verdict(
    evaluate: Make, turns: int, room: int, last: Any, reason: CallOutcome
):
    found, asked = await evaluate(turns, room, dict.fromkeys(range(9, 16), last) | {
        1: opinion("ACCEPTABLE")
    })  # fmt: skip

    assert found.headline is None
    assert found.task_completed is None
    assert [each.reason for each in found.failures] == [reason]
    assert len(asked) <= 9


async def test_other_failures_are_not_asked_about_again(evaluate: Make):
    refused = ProviderError(CallOutcome.JUDGE_REFUSED, "no")

    found, asked = await evaluate(20, 20, {1: refused})

    assert len(asked) == 1
    assert [each.reason for each in found.failures] == [CallOutcome.JUDGE_REFUSED]
