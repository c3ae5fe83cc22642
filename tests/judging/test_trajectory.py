"""Tool calls against those that people expect: the modes, and how arguments are compared."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators import apps
from evalqueue.evaluators.conversation import ExpectedCall, Thread, ToolCall, Turn
from evalqueue.evaluators.judging.builtin.trajectory import EVALUATOR, MAX_CALLS
from evalqueue.evaluators.judging.evaluator import Evaluation
from evalqueue.evaluators.judging.plan import EvaluationPlan
from evalqueue.evaluators.judging.threads import coverage_of, score_rows

MODES = ("strict", "unordered", "subset", "superset")
A, B, C = ('get_user {"id": 1}', 'cancel {"booking": "X1"}', 'log {"level": "info"}')


def call(written: str) -> ToolCall:
    name, _, arguments = written.partition(" ")
    return ToolCall(name=name, arguments=arguments)


def wanted(written: str) -> ExpectedCall:
    name, _, arguments = written.partition(" ")
    return ExpectedCall(name=name, arguments=arguments or None)


async def compared(
    expected: tuple[ExpectedCall, ...] | None,
    made: list[ToolCall],
    turn: Callable[..., Turn],
    tools: str | None = None,
    **options: Any,
) -> Evaluation:
    thread = Thread(
        thread_id="t",
        user_id="u",
        turns=(turn(tool_calls=tuple(made), expected_tool_calls=expected, tools=tools),),
    )
    given = {f"trajectory_{name}": value for name, value in options.items()}
    plan = EvaluationPlan(app=apps.load("kaira-bot"), options=given)
    return await EVALUATOR.make(plan).evaluate(thread, judge=None)  # type: ignore[arg-type]  none is asked


def value(evaluation: Evaluation, name: str = "matched") -> Any:
    return next((each.value for each in evaluation.scores if each.name == name), None)


@pytest.mark.parametrize(
    ("expected", "made", "matching", "missing", "extra"),
    [
        ([A, B], [A, B], {*MODES}, 0, 0),
        ([A, B], [B, A], {"unordered", "subset", "superset"}, 0, 0),
        ([A, B], [A], {"subset"}, 1, 0),
        ([A], [A, B], {"superset"}, 0, 1),
        ([A], [B], set(), 1, 1),
        ([A, A], [A], {"subset"}, 1, 0),
        ([A], [A, A], {"superset"}, 0, 1),
        ([], [], {*MODES}, 0, 0),
        ([], [A], {"superset"}, 0, 1),
        ([A, B, C], [], {"subset"}, 3, 0),
    ],
)
async def test_the_modes(
    expected: list[str],
    made: list[str],
    matching: set[str],
    missing: int,
    extra: int,
    turn: Callable[..., Turn],
):
    for mode in MODES:
        found = await compared(
            tuple(map(wanted, expected)), list(map(call, made)), turn, match=mode
        )

        assert value(found) is (mode in matching), mode
        assert (value(found, "missing"), value(found, "extra")) == (missing, extra)
        assert not found.failures


SCHEMA = '{"type": "object", "properties": {"id": {"pattern": "^(a+)+$"}}, "required": ["id"]}'
NAMED = ExpectedCall(name="f", arguments_schema=SCHEMA)
HALF = '{"type": "object", "properties": {"n": {"maximum": 0.5}}}'


@pytest.mark.parametrize(
    ("how", "expected", "made", "fits"),
    [
        ("exact", '{"a": 1, "b": 2}', '{"b": 2.0, "a": 1}', True),
        ("exact", '{"a": 1}', '{"a": "1"}', False),
        ("exact", '{"a": 1}', '{"a": true}', False),
        ("exact", '{"a": null}', "{}", False),
        ("exact", "{}", "", True),
        ("exact", "plain words", " plain words ", True),
        ("exact", '{"a": 1}', '{"a": 1', False),
        ("exact", '{"a": 12345678901234567890}', '{"a": 12345678901234567891}', False),
        ("subset", '{"a": 1, "b": 2}', '{"a": 1}', True),
        ("subset", '{"a": 1}', '{"a": 1, "b": 2}', False),
        ("superset", '{"a": 1}', '{"a": 1, "b": 2}', True),
        ("superset", '{"a": 1, "b": 2}', '{"a": 1}', False),
        ("ignore", '{"a": 1}', '{"a": 2}', True),
        ("exact", None, '{"a": 2}', True),
        ("exact", NAMED, '{"id": "aaa"}', True),
        ("exact", NAMED, f'{{"id": "{"a" * 60_000}b"}}', False),
        ("schema", NAMED, '{"id": "aaa"}', True),
        ("schema", NAMED, "{}", False),
        ("schema", NAMED, "no JSON", False),
        ("schema", ExpectedCall(name="f", arguments_schema=HALF), '{"n": 0.5}', True),
        ("schema", ExpectedCall(name="f", arguments_schema=HALF), '{"n": 1}', False),
    ],
)
async def test_how_arguments_are_compared(
    how: str,
    expected: str | ExpectedCall | None,
    made: str,
    fits: bool,
    turn: Callable[..., Turn],
):
    asked = (
        expected
        if isinstance(expected, ExpectedCall)
        else ExpectedCall(name="f", arguments=expected)
    )
    found = await compared((asked,), [ToolCall(name="f", arguments=made)], turn, arguments=how)

    assert value(found) is fits


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "function", "function": {"name": "f", "parameters": json.loads(HALF)}}],
        [{"name": "f", "input_schema": json.loads(HALF)}],
        [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": json.loads(HALF)}]}],
    ],
)
async def test_the_definition_of_a_tool_is_the_schema_where_the_reference_has_none(
    tools: Any, turn: Callable[..., Turn]
):
    for number, fits in ((0.5, True), (1, False)):
        made = [ToolCall(name="f", arguments=json.dumps({"n": number}))]
        found = await compared(
            (ExpectedCall(name="f"),), made, turn, tools=json.dumps(tools), arguments="schema"
        )

        assert value(found) is fits


@pytest.mark.parametrize(
    ("expected", "tools", "reason"),
    [
        (None, None, "expected_tool_calls"),
        ((ExpectedCall(name="f"),), None, "There is no schema"),
        (
            (ExpectedCall(name="f"),),
            '[{"name": "f", "parameters": {"type": "x"}}]',
            "can't be used",
        ),
        (
            (ExpectedCall(name="f", arguments_schema='{"$ref": "http://127.0.0.1:1/"}'),),
            None,
            "can't be used",
        ),
        ((ExpectedCall(name="f"),) * (MAX_CALLS + 1), None, "more than"),
    ],
)
async def test_what_can_not_be_compared_is_not_measured(
    expected: Any, tools: str | None, reason: str, turn: Callable[..., Turn]
):
    made = [ToolCall(name="f", arguments="{}")]
    found = await compared(expected, made, turn, tools=tools, arguments="schema")

    assert [(each.name, each.value) for each in found.scores] == [("matched", None)]
    assert reason in (found.scores[0].reasoning or "")
    assert found.details is None
    assert not found.failures
    assert coverage_of(found).as_json() == {"judged": 0, "attempted": 1}
    assert [row.failure for row in score_rows(found)] == ["not_measured"]


async def test_a_lenient_expectation_does_not_take_the_call_of_a_stricter_one(
    turn: Callable[..., Turn],
):
    expected = (ExpectedCall(name="f"), ExpectedCall(name="f", arguments='{"a": 1}'))
    made = [ToolCall(name="f", arguments='{"a": 1}'), ToolCall(name="f", arguments='{"a": 2}')]

    assert value(await compared(expected, made, turn, match="unordered"))
    assert not value(await compared(expected[1:], made, turn, match="subset"))


@given(st.lists(st.sampled_from([A, B, C])), st.lists(st.sampled_from([A, B, C])))
async def test_counts_and_modes_agree(expected: list[str], made: list[str]):
    def turn(**more: Any) -> Turn:

        return Turn(number=1, timestamp=datetime.now(UTC), user_text="", bot_text="", **more)

    reference, calls = tuple(map(wanted, expected)), list(map(call, made))
    matched = {mode: value(await compared(reference, calls, turn, match=mode)) for mode in MODES}
    found = await compared(reference, calls, turn)
    missing, extra = value(found, "missing"), value(found, "extra")

    assert len(expected) - missing == len(made) - extra >= 0
    assert matched["strict"] is (expected == made)
    assert matched["unordered"] is (sorted(expected) == sorted(made))
    assert matched["unordered"] is (matched["subset"] and matched["superset"])
    assert (matched["subset"], matched["superset"]) == (extra == 0, missing == 0)


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([None, None], None),
        ([[A], None, [B]], [A, B]),
        ([[A, B], [A, B]], [A, B]),  # a table repeats what concerns a conversation
        ([[A], [A], [B]], [A, A, B]),
        ([[], []], []),
        ([None, []], []),
    ],
)
def test_the_expected_calls_of_a_conversation(
    turns: list[list[str] | None], expected: list[str] | None, turn: Callable[..., Turn]
):
    thread = Thread(
        thread_id="t",
        user_id="u",
        turns=tuple(
            turn(number, expected_tool_calls=None if calls is None else tuple(map(wanted, calls)))
            for number, calls in enumerate(turns, start=1)
        ),
    )

    found = thread.expected_tool_calls
    assert found == (None if expected is None else tuple(map(wanted, expected)))
