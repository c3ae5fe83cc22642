"""Names and other short texts are one line that can be seen, wherever they come in."""

from collections.abc import Iterator
from typing import Any

import pytest

from evalqueue import InvalidParams
from evalqueue.daemon import job_types
from evalqueue.evaluators import EvaluateAdversarial, EvaluateBatch
from evalqueue.jobtypes import JobParams, decoded
from evalqueue.problems import LINE_PATTERN, as_line, line_problem

SHORT = 500  # characters at most of a text that is one line
FREE = {"evaluators", "thread_ids", "mask_names", "mask_names_path", "cases_path", "data_path"}
"""Names of something that is there: what is wrong with them is that it is not there."""


def _short_texts(model: type[JobParams]) -> Iterator[tuple[str, bool]]:
    """The params that are short texts, or lists of such."""
    schema = model.model_json_schema()
    for name, field in schema["properties"].items():
        for kind in field.get("anyOf", [field]):
            is_list = kind.get("type") == "array"
            text = kind.get("items", {}) if is_list else kind
            is_chosen = {"enum", "$ref"} & text.keys() or text.get("pattern", "") not in (
                "", LINE_PATTERN,
            )  # fmt: skip
            if text.get("type") != "string" or is_chosen or name in FREE:
                continue
            if text.get("maxLength", 0) <= SHORT and (is_list or "maxLength" in text):
                yield name, is_list


CASES = [
    (model, name, is_list) for model in job_types() for name, is_list in _short_texts(model)
] + [
    (model, name, False)
    for model in job_types()
    for name in ("llm_provider", "llm_model")
    if name in model.model_fields
]


@pytest.mark.parametrize(("model", "name", "is_list"), CASES)
@pytest.mark.parametrize("text", ["  ", "a\nb", "a\x1bb", "a\u202eb", "\u200b", "a\x00"])
def test_a_short_text_of_a_job_is_one_line_that_can_be_seen(
    model: type[JobParams], name: str, is_list: bool, text: str
) -> None:
    with pytest.raises(InvalidParams) as refused:
        decoded(model, {name: [text] if is_list else text})

    said = [problem.msg for problem in refused.value.problems if problem.loc[1] == name]
    assert len(said) == 1
    assert said[0].startswith(("Write one line without control characters", "It is empty"))


@pytest.mark.parametrize(
    ("model", "params"),
    [
        (EvaluateBatch, {"total_items": True}),
        (EvaluateBatch, {"temperature": False}),
        (EvaluateBatch, {"votes": {"efficiency": True}}),
        (EvaluateBatch, {"max_cost": True}),
        (EvaluateAdversarial, {"chatbot": {"timeout_seconds": True}}),
    ],
)
def test_true_and_false_are_no_numbers(model: type[JobParams], params: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams, match="Write a number, not true or false"):
        decoded(model, params)


def test_true_is_taken_where_it_is_meant() -> None:
    settings = {"logprobs": True}
    found = decoded(EvaluateBatch, {"total_items": 1, "reuse": True, "model_settings": settings})
    assert found.model_settings == settings


def test_what_people_write_is_a_line() -> None:
    for text in ("Nightly, 2. try", "日本語", "שלום\u200f", "👩\u200d🔬", "می\u200cخواهم", " x "):
        assert line_problem(text) is None
        assert as_line(text) == text.strip()
    assert as_line("a\r\n b\u202ec\x00") == "a b c"
    assert as_line(" \u200b") == ""
