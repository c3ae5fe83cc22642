"""A judge's answer: the schema it is asked for, and the reading of it."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from evalqueue.evaluators.judging.answers import Answer, Form, InvalidAnswer, Menu, strict_schema
from evalqueue.evaluators.judging.builtin.correctness.figures import CorrectnessAnswer
from evalqueue.evaluators.judging.builtin.efficiency.verdicts import EfficiencyAnswer, FrictionCause
from evalqueue.evaluators.judging.builtin.intent import IntentAnswer

MENUS = {
    "intents": ("FoodAgent", "General"),
    "query_types": ("logging", "question"),
    "thread_types": ("meal_logging", "general"),
    "rules": ("require_xml_chips",),
}
ANSWERS: list[type[Answer]] = [IntentAnswer, CorrectnessAnswer, EfficiencyAnswer]
ALLOWED = {"type", "description", "properties", "required", "additionalProperties"}
ALLOWED |= {"items", "anyOf", "enum"}  # taken by OpenAI's strict mode and by Gemini alike


def nodes(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    children = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    for child in children + ([schema["items"]] if "items" in schema else []):
        yield from nodes(child)


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_schema_keeps_to_what_every_vendors_strict_mode_takes(answer: type[Answer]) -> None:
    schema = strict_schema(answer, MENUS)

    assert schema["type"] == "object"
    assert "anyOf" not in schema
    for node in nodes(schema):
        assert set(node) <= ALLOWED
        assert ("type" in node) != ("anyOf" in node)
        if node.get("type") == "object":
            assert node["required"] == list(node["properties"])
            assert node["additionalProperties"] is False
        if "enum" in node:
            assert node["type"] == "string"
            assert node["enum"]


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_schema_asks_for_evidence_then_reasoning_then_the_label(answer: type[Answer]) -> None:
    keys = list(strict_schema(answer, MENUS)["properties"])

    label = "predicted_agent" if answer is IntentAnswer else "verdict"
    assert keys[0] == "evidence"
    assert keys.index("reasoning") < keys.index(label)


def test_a_menu_is_the_enum_of_its_field() -> None:
    properties = strict_schema(IntentAnswer, MENUS)["properties"]

    assert properties["predicted_agent"]["enum"] == ["FoodAgent", "General"]


def test_an_empty_menu_forbids_nothing_because_an_empty_enum_is_no_schema() -> None:
    schema = strict_schema(CorrectnessAnswer, MENUS | {"rules": ()})

    rule_id = schema["properties"]["rule_compliance"]["items"]["properties"]["rule_id"]
    assert rule_id == {"type": "string"}


def test_an_optional_enum_is_a_union_with_null() -> None:
    reason = strict_schema(EfficiencyAnswer, MENUS)["properties"]["incomplete_reason"]

    assert reason["anyOf"][1] == {"type": "null"}
    assert "USER_INACTIVE" in reason["anyOf"][0]["enum"]


def test_what_the_subset_cannot_express_is_refused_when_it_is_written() -> None:
    class Loose(Answer):
        anything: dict[str, int]

    with pytest.raises(TypeError, match="strict subset"):
        strict_schema(Loose, {})


class Small(Answer):
    reasoning: str
    label: Annotated[str, Menu("labels")]
    kind: Literal["A", "B"]
    share: Annotated[float, Field(ge=0, le=1)]


FORM = Form(Small, {"labels": ("FoodAgent", "General")})
GOOD = {"reasoning": "so", "label": "FoodAgent", "kind": "A", "share": 0.5}
TEXT = json.dumps(GOOD)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"```json\n{TEXT}\n```",
        f"Sure {{as you wish}}: {TEXT} Anything else? {{yes}}",
        f"{TEXT}\n{TEXT}",
        json.dumps(GOOD | {"extra": [1, {"a": "}"}]}),
    ],
)
def test_one_object_that_fits_is_found_in_what_surrounds_it(text: str) -> None:
    assert FORM.read(text).label == "FoodAgent"


def test_a_brace_or_an_escaped_quote_inside_a_string_does_not_end_the_object() -> None:
    answer = GOOD | {"reasoning": 'he said "}" and \\ then {'}

    assert FORM.read(f"x {json.dumps(answer)} y").reasoning == answer["reasoning"]


class Spelled(Answer):
    reasoning: str
    label: Annotated[str, Menu("labels")]
    verdict: Literal["PASS", "NOT APPLICABLE", "Re-run", "rerun"]
    reason: Literal["USER_INACTIVE", "USER_CHOSE_TO_STOP"] | None
    causes: list[FrictionCause]


SPELLED = Form(Spelled, {"labels": ("FoodAgent", "Straße")})
AS_ASKED = {
    "reasoning": "so", "label": "FoodAgent", "verdict": "PASS", "reason": None, "causes": ["USER"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "written", "meant"),
    [
        ("label", "food_agent", "FoodAgent"),
        ("label", "STRASSE", "Straße"),
        ("verdict", "pass", "PASS"),
        ("verdict", "not_applicable", "NOT APPLICABLE"),
        ("verdict", "Not-applicable", "NOT APPLICABLE"),
        ("verdict", "rerun", "rerun"),
        ("reason", "user chose to stop", "USER_CHOSE_TO_STOP"),
        ("causes", ["bot", "User"], ["BOT", "USER"]),
        ("reasoning", "PASS or not_applicable", "PASS or not_applicable"),
    ],
)
@pytest.mark.parametrize("around", [{}, {"beside": 1}])
def test_a_label_in_another_spelling_is_the_menus_label(
    field: str, written: object, meant: object, around: Mapping[str, object]
) -> None:
    answer = AS_ASKED | {field: written}
    text = json.dumps({"result": answer, **around} if around else answer)

    assert SPELLED.read(text).model_dump()[field] == meant


@pytest.mark.parametrize("written", ["re run", "RERUN", "re_run"])
def test_a_label_that_is_like_two_of_the_menu_is_asked_for_again(written: str) -> None:
    with pytest.raises(InvalidAnswer, match=r"verdict: Input should be .*'Re-run' or 'rerun'"):
        SPELLED.read(json.dumps(AS_ASKED | {"verdict": written}))


def test_a_menu_with_two_alike_labels_takes_them_as_they_are_written() -> None:
    form = Form(Small, {"labels": ("Food Agent", "food_agent")})

    assert form.read(json.dumps(GOOD | {"label": "food_agent"})).label == "food_agent"
    with pytest.raises(InvalidAnswer, match="label: .*must be one of Food Agent, food_agent"):
        form.read(json.dumps(GOOD | {"label": "FoodAgent"}))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no complete JSON object"),
        ("I would rather not.", "no complete JSON object"),
        (TEXT[:-5], "no complete JSON object"),
        ("[1, 2]", "no complete JSON object"),
        (json.dumps(GOOD | {"label": "SleepAgent"}), "must be one of FoodAgent, General"),
        (json.dumps(GOOD | {"kind": "C"}), "kind: Input should be 'A' or 'B'"),
        (json.dumps(GOOD | {"share": 95}), "share: "),
        (json.dumps({k: v for k, v in GOOD.items() if k != "kind"}), "kind: Field required"),
        (TEXT.replace("0.5", "NaN"), "share: "),
        (TEXT.replace('"so"', '"\\ud800"'), "answer: Invalid JSON"),
        (TEXT + json.dumps(GOOD | {"kind": "B"}), "more than one answer"),
    ],
)
def test_what_does_not_fit_is_invalid_and_says_why(text: str, why: str) -> None:
    with pytest.raises(InvalidAnswer) as invalid:
        FORM.read(text)

    assert why in str(invalid.value)


def test_a_deeply_nested_answer_is_invalid_and_nothing_worse() -> None:
    with pytest.raises(InvalidAnswer):
        FORM.read('{"a":' * 50_000 + "1" + "}" * 50_000)


@given(st.text(alphabet=st.sampled_from('{}"\\:,ab1 \n[]'), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(InvalidAnswer):
        FORM.read(text)


@given(st.text(max_size=40))
def test_whatever_a_judge_writes_inside_a_string_comes_back(reasoning: str) -> None:
    answer = json.dumps(GOOD | {"reasoning": reasoning})

    assert FORM.read(f"```\n{answer}\n```").reasoning == reasoning
