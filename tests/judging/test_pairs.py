"""Pairs: both orders of two answers are asked, and a verdict that depends on the order is a tie."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from evalqueue.evaluators.apps import App, InvalidApp, Rule
from evalqueue.evaluators.conversation import ToolCall
from evalqueue.evaluators.definitions.definition import (
    AppliesWhen,
    EvaluatorDefinition,
    Example,
    ExampleTurn,
    JudgedUnit,
    Output,
    OutputKind,
    OutputLabel,
)
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.defined.evaluator import DefinedEvaluator, evaluator_type
from evalqueue.evaluators.judging.evaluator import Evaluation
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.judging.plan import EvaluationPlan
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration
from evalqueue.evaluators.judging.threads import coverage_of, score_rows
from evalqueue.evaluators.judging.voting.evaluator import voted
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError

Make = Callable[..., Any]

BETTER = EvaluatorDefinition(
    name="better",
    prompt="Which answer helps more?",
    scope=JudgedUnit.PAIR,
    output=Output(
        kind=OutputKind.CATEGORY,
        labels=tuple(OutputLabel(name=name) for name in ("first", "second", "tie")),
    ),
)
FAILED = ProviderError(CallOutcome.TIMEOUT, "no answer")


def answer(verdict: str, quote: str = "One.") -> dict[str, Any]:
    return {
        "evidence": [{"turn": 1, "quote": quote}],
        "reasoning": f"{verdict} is better",
        "verdict": verdict,
    }


def in_turn(recorded: Any, exchanged: Any) -> Callable[..., Any]:
    """Answers by which of the two answers, "One." and "Two.", is shown as the first."""
    return lambda request, *_: (
        recorded if request.prompt.index("One.") < request.prompt.index("Two.") else exchanged
    )


def values(found: Evaluation) -> dict[str, Any]:
    return {row.name: row.value for row in score_rows(found)}


@pytest.mark.parametrize(
    ("recorded", "exchanged", "verdict", "is_consistent"),
    [
        ("first", "second", "first", True),
        ("second", "first", "second", True),
        ("tie", "tie", "tie", True),
        ("first", "first", "tie", False),
        ("second", "second", "tie", False),
        ("first", "tie", "tie", False),
        ("tie", "first", "tie", False),
    ],
)
async def test_a_verdict_that_depends_on_the_order_is_a_tie(
    app: App,
    scripted: Make,
    thread: Make,
    turn: Make,
    recorded: str,
    exchanged: str,
    verdict: str,
    is_consistent: bool,
) -> None:
    calls = scripted(in_turn(answer(recorded), answer(exchanged, "Two.")))
    pair = thread(turn(1, "How many?", "One.", alternative="Two."))
    found = await DefinedEvaluator(BETTER, app).evaluate(pair, Judge(calls))

    assert len(calls.asked) == 2
    assert values(found) == {"verdict": verdict, "consistent": is_consistent}
    assert (found.headline, coverage_of(found).as_json()) == (
        verdict, {"judged": 1, "attempted": 1}
    )  # fmt: skip
    (details,) = found.details
    assert details["reasoning"] == (
        f"As recorded, {recorded}: {recorded} is better "
        f"With places exchanged, {exchanged}: {exchanged} is better"
    )
    assert [each["in_transcript"] for each in details["evidence"]] == [True, True]


async def test_a_conversation_without_a_second_answer_is_not_asked_about(
    app: App, scripted: Make, thread: Make, turn: Make
) -> None:
    evaluator = DefinedEvaluator(BETTER, app)
    found = await evaluator.evaluate(thread(turn(1)), Judge(scripted()))

    assert (found.scores, found.failures, coverage_of(found).attempted) == ((), (), 0)


async def test_what_an_evaluator_does_not_apply_to_is_not_asked_about(
    app: App, scripted: Make, thread: Make, turn: Make
) -> None:
    definition = replace(BETTER, applies_when=AppliesWhen(user_says=("refund",)))
    pair = thread(turn(1, "How many?", "One.", alternative="Two."))
    found = await DefinedEvaluator(definition, app).evaluate(pair, Judge(scripted()))

    assert (found.scores, found.failures) == ((), ())


@pytest.mark.parametrize(("recorded", "exchanged"), [(answer("first"), FAILED), (FAILED, FAILED)])
async def test_an_order_without_an_answer_leaves_one_verdict_missing(
    app: App, scripted: Make, thread: Make, turn: Make, recorded: Any, exchanged: Any
) -> None:
    calls = scripted(in_turn(recorded, exchanged))
    pair = thread(turn(1, "How many?", "One.", alternative="Two."))
    found = await DefinedEvaluator(BETTER, app).evaluate(pair, Judge(calls))

    (row,) = score_rows(found)
    assert (row.name, row.value, row.failure) == ("verdict", None, "timeout")
    assert coverage_of(found).as_json() == {"judged": 0, "attempted": 1}


async def test_both_answers_are_shown_alike_after_what_they_have_in_common(
    app: App, scripted: Make, thread: Make, turn: Make
) -> None:
    call = ToolCall(name="count", arguments="{}")
    pair = thread(
        turn(1, "Hello", "Hi."),
        turn(2, "How many?", "One.", alternative="Two.", context="The list.", tool_calls=(call,)),
        turn(3, "Sure?", "Yes.", alternative="No."),
        turn(4, "Thanks", "Bye."),
    )
    calls = scripted(in_turn(answer("first"), answer("second")))
    await DefinedEvaluator(BETTER, app).evaluate(pair, Judge(calls))
    recorded, exchanged = (request.prompt.splitlines() for request, *_ in calls.asked)

    said = [line.strip() for line in recorded if line.startswith("    ")]
    assert said == [
        "Hello", "Hi.", "How many?", "The list.", "One.", "Sure?", "Yes.",
        "How many?", "Two.", "Sure?", "No.",
    ]  # fmt: skip
    swapped = {"One.": "Two.", "Two.": "One.", "Yes.": "No.", "No.": "Yes."}
    assert [line.strip() for line in exchanged if line.startswith("    ")] == [
        swapped.get(line, line) for line in said
    ]
    assert "two answers of chat assistants" in calls.asked[0][0].system


async def test_a_prompt_with_the_transcript_in_it_has_both_answers_there(
    app: App, scripted: Make, thread: Make, turn: Make
) -> None:
    definition = replace(BETTER, prompt="{{app_name}}: read {{transcript}} and choose.")
    calls = scripted(in_turn(answer("first"), answer("second")))
    pair = thread(turn(1, "How many?", "One.", alternative="Two."))
    found = await DefinedEvaluator(definition, app).evaluate(pair, Judge(calls))

    assert found.headline == "first"
    assert calls.asked[0][0].prompt.startswith("Small: read <transcript-")
    assert calls.asked[0][0].prompt.count("Two.") == 1


def test_an_example_shows_both_answers(app: App, thread: Make, turn: Make) -> None:
    example = Example(turns=(ExampleTurn(user="a?", bot="b!", alternative="c!"),), verdict="second")
    evaluator = DefinedEvaluator(replace(BETTER, examples=(example,)), app)
    system = evaluator.question(thread(turn(1))).text.system

    assert system.index("The first answer") < system.index("b!")
    assert system.index("b!") < system.index("The second answer") < system.index("c!")
    assert json.dumps({"verdict": "second"}) in system


async def test_each_order_is_voted_on(app: App, scripted: Make, thread: Make, turn: Make) -> None:
    kind = evaluator_type(BETTER, app)
    evaluator = voted(kind.make(EvaluationPlan(app=app)), 3)
    calls = scripted(in_turn(answer("second"), answer("first")))
    pair = thread(turn(1, "How many?", "One.", alternative="Two."))
    found = await evaluator.evaluate(pair, Judge(calls))

    assert len(calls.asked) == 6
    assert values(found) == {
        "verdict": "second", "consistent": True, "vote_agreement": 1.0, "vote_flip_rate": 0.0,
    }  # fmt: skip
    assert kind.calls(EvaluationPlan(app=app)).per_thread == 2


def test_a_pair_can_come_to_a_tie_that_no_judge_can_choose(app: App) -> None:
    output = replace(BETTER.output, labels=BETTER.output.labels[:2], good=("first",))
    evaluator = DefinedEvaluator(replace(BETTER, output=output), app)

    assert evaluator.declaration.headline_score.labels == ("first", "second", "tie")
    assert evaluator.declaration.headline_score.good == ("first",)


@pytest.mark.parametrize(
    "names",
    [
        names
        for size in (2, 3)
        for names in itertools.permutations(("first", "second", "tie"), size)
        if {"first", "second"} <= {*names}
    ],
)
@pytest.mark.parametrize("is_described", [True, False])
def test_each_label_of_a_pair_is_declared_with_its_own_description(
    names: tuple[str, ...], is_described: bool, app: App
) -> None:
    labels = tuple(
        OutputLabel(name=name, description=f"{name} it is" if is_described else "")
        for name in names
    )
    definition = replace(BETTER, output=replace(BETTER.output, labels=labels))
    declaration = evaluator_type(definition, app).declaration
    assert EvaluatorDeclaration.model_validate(declaration.model_dump()) == declaration

    score = declaration.headline_score
    described = dict(zip(score.labels, score.descriptions, strict=True))
    assert score.labels == (*names, *({"tie"} - {*names}))
    plain = "The verdict changes with the order, or both are equally good"
    tie = "tie it is" if is_described and "tie" in names else plain
    own = {label.name: label.description for label in labels}
    assert described == own | {"tie": tie}


def test_an_app_with_an_evaluator_that_can_not_be_declared_is_refused(app: App) -> None:
    nameless = replace(BETTER, name="a name with spaces")
    with pytest.raises(InvalidApp, match=r"evaluators\.0: .*name"):
        registry.check(replace(app, evaluators=(nameless,)))


def test_the_rules_of_the_app_are_not_asked_about_a_pair(app: App) -> None:
    ruled = replace(app, rules=(Rule(rule_id="a", section="b", text="c", scopes=("better",)),))

    assert DefinedEvaluator(BETTER, ruled).declaration.score("rules_followed") is None
