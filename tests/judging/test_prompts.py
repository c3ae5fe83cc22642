"""Prompt texts: versioned, and filled in so that hostile text stays text."""

import pytest

from evalqueue.evaluators.judging import prompts

NAMES = ["intent", "correctness", "references", "efficiency", "repair"]


@pytest.mark.parametrize("name", NAMES)
def test_every_prompt_has_its_own_version(name: str) -> None:
    assert prompts.load(name).version.startswith(f"{name}/")


@pytest.mark.parametrize("name", NAMES[:3])
def test_the_keys_are_asked_for_in_the_order_evidence_reasoning_label(name: str) -> None:
    order = prompts.load(name).system.rpartition("its keys in this order")[2]

    label = {"intent": "predicted_agent"}.get(name, "verdict")
    assert order.index("evidence") < order.index("reasoning") < order.index(label)


def test_a_placeholder_inside_a_value_is_not_filled_in() -> None:
    prompt = prompts.parse("version: x/1\n# system\n$a\n# prompt\n$b\n", where="x.md")

    rendered = prompt.render(a="$b ${b} {b} %(b)s", b="secret")

    assert rendered.system == "$b ${b} {b} %(b)s"


@pytest.mark.parametrize("values", [{"a": "1"}, {"a": "1", "b": "2", "c": "3"}])
def test_a_missing_or_unknown_name_is_refused(values: dict[str, str]) -> None:
    prompt = prompts.parse("version: x/1\n# system\n$a\n# prompt\n$b\n", where="x.md")

    with pytest.raises(ValueError, match=r"x/1: missing or unknown"):
        prompt.render(**values)


def test_a_file_without_the_layout_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"broken\.md needs a line 'version"):
        prompts.parse("hello", where="broken.md")


def test_a_changed_text_has_another_digest() -> None:
    text = "version: x/1\n# system\na\n# prompt\nb\n"

    one, other = prompts.parse(text, where="x"), prompts.parse(text + "c", where="x")

    assert one.digest != other.digest
