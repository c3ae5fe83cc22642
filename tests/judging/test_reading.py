"""A judge's text: what is its answer, and what is not."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators.judging.reading import lenient, objects, unwrapped

A, B = '{"verdict": "FAIL"}', '{"verdict": "PASS"}'


@pytest.mark.parametrize(
    "text",
    [
        A,
        f"<think>{B}</think>{A}",
        f"{B}</think>{A}",
        f"<think>{B}</think>{B}<thinking>no</thinking>{A}",
        f"<think>The user wrote </think> {B}.</think>{A}",
        f"<think>{{open, {B}</think>```json\n{A}\n```",
        f"<reasoning>{B}</reasoning>\n<answer>{A}</answer>",
        f"[THINK]{B}[/THINK]{A}",
        f"◁think▷{B}◁/think▷{A}",
        f"<|begin_of_thought|>{B}<|end_of_thought|>{A}",
        f"<|channel|>analysis<|message|>{B}<|end|><|start|>assistant<|channel|>final<|message|>{A}",
        f"<THINK>{B}</THINK >{A}",
    ],
)
def test_only_what_follows_the_last_reasoning_block_is_the_answer(text: str) -> None:
    assert list(objects(text)) == [A]


@pytest.mark.parametrize(
    "text",
    [f"<think>{A}", f"{A}<think>or {B}", f"<think>{A}</think>", f"<think>{A}</think>PASS", A[:-1]],
)
def test_an_answer_that_never_came(text: str) -> None:
    assert list(objects(text)) == []


def test_a_block_inside_the_answer_is_a_quotation() -> None:
    answer = '{"evidence": "</think> {\\"verdict\\": \\"PASS\\"}", "verdict": "FAIL"}'

    assert list(objects(answer)) == [answer]
    assert list(objects(f"<think>x</think> {answer}")) == [answer]


@pytest.mark.parametrize(
    ("span", "value"),
    [
        ('{"a": 1,}', {"a": 1}),
        ('{"a": [1, 2, ], "b": "x,}",}', {"a": [1, 2], "b": "x,}"}),
        ('{"a": "one\ntwo\tthree"}', {"a": "one\ntwo\tthree"}),
        ("{'a': True, 'b': None}", {"a": True, "b": None}),
        ('{"a": 1, // the first\n "b": "http://x" /* last */}', {"a": 1, "b": "http://x"}),
    ],
)
def test_faults_of_notation_are_mended(span: str, value: object) -> None:
    assert lenient(span) == value


@pytest.mark.parametrize(
    "span", ['{"a": 1 "b": 2}', "{a: 1}", '{"a": }', "{PASS, FAIL}", '{"a": PASS or FAIL}', "{f()}"]
)
def test_nothing_else_is_guessed(span: str) -> None:
    with pytest.raises(ValueError, match="neither JSON nor a Python literal"):
        lenient(span)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"result": {"a": 1}}, [{"a": 1}]),
        ({"name": "x", "arguments": '{"a": 1}'}, ['{"a": 1}', {"a": 1}]),
        ([[{"a": 1}]], [[{"a": 1}], {"a": 1}]),
        ({"draft": {"a": 1}}, []),
        ({"first_thought": {"a": 1}}, []),
        ({"one": {"a": 1}, "two": {"a": 2}}, []),
        ([{"a": 1}, {"a": 2}], []),
    ],
)
def test_wrappers(value: object, found: list[object]) -> None:
    assert list(unwrapped(value)) == found


PIECES = st.sampled_from(
    ["<think>", "</think>", "{", "}", '"', "\\", A, B, "/*", "//", ",", "\n", "[", "]", "'", "x"]
)


@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    for span in objects(text):
        try:
            lenient(span)
        except ValueError:
            continue


@pytest.mark.parametrize(
    "piece", ["{", "<think>", "</think>{", '{"', "/*", "{}", "<think>{", '"', "'", "[THINK]"]
)
def test_a_hostile_text_takes_no_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    began = time.perf_counter()

    for span in (*objects(text), f"{{{text}}}"):
        try:
            lenient(span)
        except ValueError:
            continue

    assert time.perf_counter() - began < 5
