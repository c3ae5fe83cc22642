"""Efficiency: one verdict for a thread, and whose doing each detour was."""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.judging.builtin.efficiency import EfficiencyEvaluator
from evalqueue.evaluators.judging.builtin.efficiency.counts import counted
from evalqueue.evaluators.judging.builtin.efficiency.verdicts import Efficiency, EfficiencyAnswer
from evalqueue.evaluators.judging.evaluator import Evaluation
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError

Make = Callable[..., Any]


def opinion(verdict: str = "EFFICIENT", *, completed: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "evidence": [{"turn": 1, "quote": "2 idli at 8"}],
        "thread_type": "meal_logging",
        "friction_turns": [],
        "rule_compliance": [],
        "recovery_quality": "NOT_NEEDED",
        "incomplete_reason": None,
        "failure_reason": None,
        "reasoning": "so",
        "task_completed": completed,
        "verdict": verdict,
    } | more


def friction(turn: int, cause: str = "BOT") -> dict[str, Any]:
    return {"turn": turn, "description": "asked again", "cause": cause}


@pytest.fixture
def evaluate(app: App, scripted: Make, thread: Make) -> Make:
    async def run(answer: Any, *turns: Any) -> Evaluation:
        judge = Judge(scripted(lambda *_: answer))
        return await EfficiencyEvaluator(app).evaluate(thread(*turns), judge)

    return run


def test_the_judges_labels_are_the_verdicts_that_are_stored() -> None:
    offered = get_args(EfficiencyAnswer.model_fields["verdict"].annotation)

    assert {each.replace("_", " ") for each in offered} == set(Efficiency)


@pytest.mark.parametrize("verdict", ["EFFICIENT", "ACCEPTABLE", "FRICTION"])
async def test_the_verdict_and_the_completion_are_the_judges(
    evaluate: Make, turn: Make, verdict: str
) -> None:
    found = await evaluate(opinion(verdict), turn(1), turn(2))

    assert found.headline == verdict
    assert found.task_completed is True
    assert found.details["override"] is None
    assert found.details["evidence"][0]["in_transcript"] is True


async def test_a_failed_question_is_neither_a_verdict_nor_an_incomplete_task(
    evaluate: Make, turn: Make
) -> None:
    found = await evaluate(ProviderError(CallOutcome.CONTENT_FILTER, "no"), turn(1))

    assert found.headline is None
    assert found.task_completed is None
    assert found.details is None
    assert [failure.reason for failure in found.failures] == [CallOutcome.CONTENT_FILTER]
    assert found.failures[0].turn is None


async def test_an_incomplete_thread_keeps_its_reason(evaluate: Make, turn: Make) -> None:
    found = await evaluate(
        opinion("INCOMPLETE", completed=False, incomplete_reason="USER_CHOSE_TO_STOP"), turn(1)
    )

    assert found.headline == "INCOMPLETE"
    assert found.details["incomplete_reason"] == "user_chose_to_stop"
    assert found.details["contradictions"] == []


async def test_a_reason_without_an_incomplete_thread_is_dropped(evaluate: Make, turn: Make) -> None:
    found = await evaluate(opinion(incomplete_reason="USER_INACTIVE"), turn(1))

    assert found.details["incomplete_reason"] is None


@pytest.mark.parametrize("verdict", ["EFFICIENT", "BROKEN"])
async def test_a_thread_of_another_type_has_no_efficiency(
    evaluate: Make, turn: Make, verdict: str
) -> None:
    found = await evaluate(opinion(verdict, thread_type="greeting"), turn(1))

    assert found.headline == "NOT APPLICABLE"
    assert found.details["judge_verdict"] == verdict
    assert "greeting" in found.details["override"]
    assert found.task_completed is True


async def test_a_judge_who_says_so_himself_is_not_overridden(evaluate: Make, turn: Make) -> None:
    found = await evaluate(opinion("NOT_APPLICABLE", thread_type="general"), turn(1))

    assert found.headline == "NOT APPLICABLE"
    assert found.details["override"] is None


async def test_nobody_is_blamed_for_a_photo(evaluate: Make, turn: Make) -> None:
    found = await evaluate(
        opinion("FRICTION", friction_turns=[friction(2)]),
        turn(1),
        turn(2, has_image=True),
        turn(3),
    )

    assert found.headline == "ACCEPTABLE"
    assert found.details["judge_verdict"] == "FRICTION"
    assert "photo" in found.details["override"]
    assert found.details["friction_turns"][0]["cause"] == "USER"
    assert found.details["friction_turns"][0]["judge_cause"] == "BOT"


@pytest.mark.parametrize(
    "answer",
    [
        opinion("FRICTION", friction_turns=[friction(2), friction(3)]),
        opinion("FRICTION", completed=False, friction_turns=[friction(2)]),
        opinion("BROKEN", completed=False, friction_turns=[friction(2)]),
        opinion("FRICTION", friction_turns=[friction(3, "USER")]),
    ],
)
async def test_a_photo_excuses_nothing_else(
    evaluate: Make, turn: Make, answer: dict[str, Any]
) -> None:
    found = await evaluate(answer, turn(1), turn(2, has_image=True), turn(3))

    assert found.headline == answer["verdict"]
    assert found.details["override"] is None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (opinion("INCOMPLETE", incomplete_reason="USER_INACTIVE"), "said to be completed"),
        (opinion("EFFICIENT", completed=False), "said not to be completed"),
        (opinion("EFFICIENT", friction_turns=[friction(2)]), "The bot caused friction"),
        (opinion("FRICTION"), "no turn is named"),
        (opinion("INCOMPLETE", completed=False), "no reason is given"),
        (opinion("FRICTION", friction_turns=[friction(9)]), "turn 9, which does not exist"),
    ],
)
async def test_an_answer_that_contradicts_itself_is_said_to(
    evaluate: Make, turn: Make, answer: dict[str, Any], said: str
) -> None:
    found = await evaluate(answer, turn(1), turn(2))

    assert any(said in each for each in found.details["contradictions"])
    assert found.headline == answer["verdict"]


async def test_the_judge_sees_the_whole_thread(
    app: App, scripted: Make, turn: Make, thread: Make
) -> None:
    calls = scripted(opinion())
    talk = thread(*(turn(n, f"said-{n}", "long " * 1000 + f"end-{n}") for n in range(1, 9)))

    await EfficiencyEvaluator(app).evaluate(talk, Judge(calls))

    request = calls.asked[0][0]
    assert all(f"said-{n}" in request.prompt for n in range(1, 9))
    assert all(f"end-{n}" in request.prompt for n in range(1, 9))
    assert "Turn to judge" not in request.prompt
    assert "8 turns in 420 seconds" in request.prompt
    assert "ask_time_if_missing" in request.system
    assert "require_xml_chips" not in request.system


def test_questions_that_the_bot_asked_before_are_counted(turn: Make, thread: Make) -> None:
    talk = thread(
        turn(1, "idli", "Nice! At what time did you eat it?"),
        turn(2, "8", "Sure. How many pieces did you have?"),
        turn(3, "8", "At what time did you eat it? Ok?", error="HTTP 500"),
    )

    found = counted(talk, ideal_turns=2)

    assert found == {
        "turns": 3,
        "ideal_turns": 2,
        "extra_turns": 1,
        "duration_seconds": 120.0,
        "turns_with_errors": [3],
        "repeated_bot_questions": [
            {"turn": 3, "first_asked_in": 1, "question": "At what time did you eat it?"}
        ],
        "repeated_user_messages": [3],
    }
