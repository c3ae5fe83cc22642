"""Evaluators made from definitions: what is asked, what is read, what it comes to."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators.apps import App, Rule
from evalqueue.evaluators.definitions import templates
from evalqueue.evaluators.definitions.definition import (
    AppliesWhen,
    CheckedRule,
    EvaluatorDefinition,
    Example,
    ExampleTurn,
    JudgedUnit,
    JudgeParameters,
    LongConversations,
    Output,
    OutputKind,
    OutputLabel,
    TurnPart,
    Verdict,
)
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.defined.declaration import summed_up
from evalqueue.evaluators.judging.defined.evaluator import DefinedEvaluator
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.judging.plan import EvaluationPlan
from evalqueue.evaluators.judging.registry import UnknownEvaluator
from evalqueue.evaluators.judging.scores import fits
from evalqueue.evaluators.judging.threads import coverage_of, score_rows
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError

Make = Callable[..., Any]

LABELS = Output(
    kind=OutputKind.CATEGORY,
    ordered=True,
    labels=tuple(OutputLabel(name=name) for name in ("WARM", "PLAIN", "RUDE", "NONE")),
    good=("WARM",),
    bad=("RUDE",),
    neutral=("NONE",),
)
NUMBER = Output(kind=OutputKind.NUMBER, minimum=1, maximum=5)
YES = Output(kind=OutputKind.BOOLEAN)
LEAKS = Output(kind=OutputKind.BOOLEAN, higher_is_better=False)
TOPIC = Output(
    kind=OutputKind.CATEGORY, labels=(OutputLabel(name="bill"), OutputLabel(name="network"))
)


def definition(**more: Any) -> EvaluatorDefinition:
    given: dict[str, Any] = {"name": "manners", "prompt": "Is it polite?", "output": LABELS}
    return EvaluatorDefinition(**given | more)


def answer(verdict: Any, *, rules: dict[str, str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "evidence": [{"turn": 1, "quote": "Noted."}],
        "reasoning": "so",
        "verdict": verdict,
    }
    if rules is not None:
        found["rule_compliance"] = [
            {"rule_id": rule_id, "evidence": f"about {rule_id}", "status": status}
            for rule_id, status in rules.items()
        ]
    return found


@pytest.mark.parametrize(
    ("output", "verdict"),
    [(LABELS, "RUDE"), (NUMBER, 2.5), (YES, False), (LEAKS, True), (TOPIC, "network")],
)
async def test_a_verdict_on_a_conversation_is_its_headline(
    app: App, scripted: Make, thread: Make, turn: Make, output: Output, verdict: Verdict
) -> None:
    evaluator = DefinedEvaluator(definition(output=output), app)
    found = await evaluator.evaluate(thread(turn(1), turn(2)), Judge(scripted(answer(verdict))))

    assert (found.headline, coverage_of(found).judged) == (verdict, 1)
    assert all(fits(each.value, found.declaration.headline_score) for each in found.scores)
    (row,) = score_rows(found)
    assert (row.name, row.turn, row.value, row.reasoning) == ("verdict", None, verdict, "so")
    assert row.evidence[0]["in_transcript"]


@pytest.mark.parametrize(
    ("output", "bad", "says"),
    [
        (LABELS, "KIND", "must be one of WARM, PLAIN"),
        (NUMBER, 6, "less than or equal to 5"),
        (NUMBER, 0, "greater than or equal to 1"),
        (YES, "perhaps", "valid boolean"),
    ],
)
async def test_what_does_not_fit_is_repaired_once(
    app: App, scripted: Make, thread: Make, turn: Make, output: Output, bad: Any, says: str
) -> None:
    good = {OutputKind.CATEGORY: "WARM", OutputKind.NUMBER: 4.0, OutputKind.BOOLEAN: True}
    calls = scripted(answer(bad), answer(good[output.kind]))
    evaluator = DefinedEvaluator(definition(output=output), app)
    found = await evaluator.evaluate(thread(turn(1)), Judge(calls))

    assert found.headline == good[output.kind]
    (_, (request, _, method)) = calls.asked
    assert method == "repair"
    assert says in request.prompt


@pytest.mark.parametrize(
    ("output", "verdicts", "is_whole", "expected"),
    [
        (LABELS, ["WARM", "RUDE", "NONE"], True, "RUDE"),
        (LABELS, ["WARM", "PLAIN", "NONE"], True, "PLAIN"),
        (LABELS, ["NONE", "WARM"], True, "WARM"),
        (LABELS, ["NONE"], True, "NONE"),
        (LABELS, ["WARM", "RUDE"], False, "RUDE"),
        (LABELS, ["WARM", "PLAIN"], False, None),
        (TOPIC, ["bill", "network", "network"], True, "network"),
        (NUMBER, [1.0, 2.0], True, 1.5),
        (YES, [True, True], True, True),
        (YES, [True, False], True, False),
        (YES, [True], False, None),
        (LEAKS, [False, False], True, False),
        (LEAKS, [False, True], False, True),
        (LEAKS, [False], False, None),
        (LABELS, [], True, None),
    ],
)
def test_the_verdicts_on_turns_come_to_one(
    output: Output, verdicts: list[Verdict], is_whole: bool, expected: Verdict | None
) -> None:
    assert summed_up(verdicts, output, is_whole=is_whole) == expected


async def test_a_turn_that_could_not_be_judged_is_a_failure_and_hides_no_other(
    app: App, scripted: Make, thread: Make, turn: Make
) -> None:
    def judge(_request: Any, site: Any, _method: str) -> Any:
        refused = ProviderError(CallOutcome.JUDGE_REFUSED, "no")
        return refused if site.turn == 2 else answer("RUDE" if site.turn == 3 else "WARM")

    evaluator = DefinedEvaluator(definition(scope=JudgedUnit.TURN), app)
    found = await evaluator.evaluate(thread(turn(1), turn(2), turn(3)), Judge(scripted(judge)))

    rows = {(row.name, row.turn): (row.value, row.failure) for row in score_rows(found)}
    assert rows == {
        ("worst", None): ("RUDE", None),
        ("verdict", 1): ("WARM", None),
        ("verdict", 2): (None, "judge_refused"),
        ("verdict", 3): ("RUDE", None),
    }


@pytest.mark.parametrize(
    ("when", "judged"),
    [
        (AppliesWhen(), [1, 2, 3]),
        (AppliesWhen(has=(TurnPart.CONTEXT,)), [2]),
        (AppliesWhen(bot_says=("kcal",)), [3]),
        (AppliesWhen(user_says=("idli",)), [1]),
        (AppliesWhen(intents=("food_agent",)), [1]),
        (AppliesWhen(min_turns=2), [2, 3]),
        (AppliesWhen(has=(TurnPart.TOOLS,)), []),
    ],
)
async def test_what_it_does_not_apply_to_costs_no_call(
    app: App, scripted: Make, thread: Make, turn: Make, when: AppliesWhen, judged: list[int]
) -> None:
    said = thread(
        turn(1, "two Idli", routed_intent="FoodAgent"),
        turn(2, "and now?", context="a page"),
        turn(3, "thanks", "300 KCAL"),
    )
    calls = scripted(lambda *_: answer("WARM"))
    of_turns = definition(scope=JudgedUnit.TURN, applies_when=when)
    found = await DefinedEvaluator(of_turns, app).evaluate(said, Judge(calls))
    of_all = await DefinedEvaluator(definition(applies_when=when), app).evaluate(said, Judge(calls))

    assert [row["turn"] for row in found.details] == judged
    assert [site.turn for _, site, _ in calls.asked[: len(judged)]] == judged
    assert len(calls.asked) == len(judged) + bool(judged)
    assert (found.headline, of_all.headline) == (("WARM", "WARM") if judged else (None, None))
    assert not [row for row in (*score_rows(found), *score_rows(of_all)) if row.failure]


async def test_rules_of_the_app_and_of_its_own_are_asked_and_are_a_score(
    app: App, scripted: Make, thread: Make, turn: Make
) -> None:
    asked = Rule(rule_id="no_address", section="Privacy", text="No address.", scopes=("manners",))
    app = replace(app, rules=(*app.rules, asked))
    own = CheckedRule(rule_id="says_hello", text="It says hello.")
    evaluator = DefinedEvaluator(definition(rules=(own,)), app)

    async def followed(**rules: str) -> tuple[Any, str | None]:
        calls = scripted(answer("WARM", rules=rules))
        found = await evaluator.evaluate(thread(turn(1)), Judge(calls))
        (request, _, _) = calls.asked[0]
        assert "- no_address [Privacy]: No address." in request.system
        assert "- says_hello [Manners]: It says hello." in request.system
        assert "ask_time_if_missing" not in request.system
        (score,) = (each for each in found.scores if each.name == "rules_followed")
        return score.value, score.reasoning

    assert await followed(no_address="VIOLATED", says_hello="FOLLOWED") == (
        False, "no_address: about no_address",
    )  # fmt: skip
    assert await followed(no_address="FOLLOWED", says_hello="NOT_APPLICABLE") == (True, None)
    assert await followed(no_address="NOT_APPLICABLE") == (None, None)
    assert DefinedEvaluator(definition(), replace(app, rules=())).declaration.score(
        "rules_followed"
    ) is None  # fmt: skip


def test_the_judge_sees_the_parts_that_are_meant(app: App, thread: Make, turn: Make) -> None:
    said = thread(
        *(
            turn(n, f"asked {n}", f"answered {n}", context=f"page {n}", system=f"be kind {n}")
            for n in range(1, 8)
        )
    )

    def shown(number: int = 7, **more: Any) -> str:
        of_turn = definition(scope=JudgedUnit.TURN, **more)
        return DefinedEvaluator(of_turn, app).question(said, said.turns[number - 1]).text.prompt

    usual = shown()
    assert "asked 3" in usual
    assert "asked 2" not in usual
    assert "page 7" in usual
    assert "be kind 7" in usual
    assert "at 2025" not in usual
    assert "asked 7" not in shown(shows=(TurnPart.BOT,))
    assert "answered 7" in shown(shows=(TurnPart.BOT,))
    assert "page 7" not in shown(shows=(TurnPart.USER, TurnPart.BOT))
    assert "asked 6" not in shown(context_turns=0)
    assert "at 2025" in shown(shows=(TurnPart.USER, TurnPart.TIMES))
    alone = shown(prompt="{{turn}}: {{answer}} to {{user_message}} with {{ context }}")
    assert [alone.count(each) for each in ("answered 7", "asked 7", "page 7", "asked 6")] == (
        [1, 1, 1, 0]
    )
    assert alone.startswith("7: <answer-")


def test_its_version_is_of_what_can_change_a_verdict(app: App) -> None:
    def version(app: App = app, **more: Any) -> str:
        return DefinedEvaluator(definition(**more), app).version

    example = Example(turns=(ExampleTurn(user="a", bot="b"),), verdict="WARM")
    rule = Rule(rule_id="r", section="s", text="t", scopes=("manners",))
    other = [
        version(prompt="Is it kind?"),
        version(output=TOPIC),
        version(examples=(example,)),
        version(scope=JudgedUnit.TURN),
        version(shows=(TurnPart.BOT,)),
        version(long_conversations=LongConversations.WORST),
        version(long_conversations=LongConversations.LAST),
        version(applies_when=AppliesWhen(min_turns=2)),
        version(parameters=JudgeParameters(temperature=1.0)),
        version(rules=(CheckedRule(rule_id="r", text="t"),)),
        version(replace(app, rules=(rule,))),
        version(replace(app, about="Another bot.")),
        version(prompt="{{app_name}}: {{transcript}}"),
        version(replace(app, name="Other"), prompt="{{app_name}}: {{transcript}}"),
    ]

    assert version().startswith("manners:")
    assert version(gold=(example,), title="Politeness", question="?", source="a book") == version()
    assert version(replace(app, name="Other")) == version()
    assert len({version(), *other}) == len(other) + 1


def test_its_own_parameters_are_asked_with(app: App, thread: Make, turn: Make) -> None:
    own = JudgeParameters(temperature=0.7, max_output_tokens=99)
    asked = DefinedEvaluator(definition(parameters=own), app).question(thread(turn(1))).request()
    usual = DefinedEvaluator(definition(), app).question(thread(turn(1))).request()

    assert (asked.temperature, asked.max_output_tokens) == (0.7, 99)
    assert (usual.temperature, usual.max_output_tokens) == (0.1, 4096)


def test_a_plan_has_the_apps_own_and_names_those_of_the_catalogue(app: App) -> None:
    rule = Rule(rule_id="r", section="s", text="t", scopes=("pii_leak",))
    app = replace(app, evaluators=(definition(),), rules=(rule,))
    installed = [name for name, kind in registry.installed().items() if registry.is_usual(kind)]

    def names(*wanted: str) -> list[str]:
        plan = EvaluationPlan(app=app, evaluators=wanted or None)
        return [kind.name for kind in registry.chosen(plan)]

    assert names() == [*installed, "manners", "pii_leak"]
    assert names("tone", "manners") == ["manners", "tone"]
    with pytest.raises(UnknownEvaluator, match="Not installed: evaluator mood.*catalogue: .*tone"):
        names("mood")
    with pytest.raises(UnknownEvaluator, match="'intent' is the name of an installed evaluator"):
        registry.chosen(EvaluationPlan(app=replace(app, evaluators=(definition(name="intent"),))))


@given(st.text(), st.dictionaries(st.sampled_from(["about", "turn", "answer"]), st.text()))
def test_filling_in_is_one_pass(before: str, said: dict[str, str]) -> None:
    before = before.replace("{", "")
    values = {name: f"{{{{about}}}}{said.get(name, '')}" for name in ("about", "turn", "answer")}
    prompt = f"{before} {{{{answer}}}} {{{{ turn }}}}"

    assert templates.filled(prompt, values) == f"{before} {values['answer']} {values['turn']}"
