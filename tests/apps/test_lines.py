"""The line of each mistake in an app's text, in each notation."""

import re

import pytest
from tests.apps.conftest import TELECOM

from evalqueue.evaluators.apps import InvalidApp, documents
from evalqueue.evaluators.apps.documents import Notation
from evalqueue.evaluators.apps.lines import with_lines

APP = documents.read(TELECOM, Notation.TOML, where="telecom")
TEXTS = {
    Notation.TOML: TELECOM,
    Notation.YAML: documents.to_yaml(APP),
    Notation.JSON: documents.to_json(APP),
}


def mistakes(text: str, notation: Notation) -> list[tuple[str, str]]:
    """The path of each mistake, and the text of its line."""
    with pytest.raises(InvalidApp) as refused:
        documents.read(text, notation, where="text")
    found = with_lines(refused.value.problems, text, notation)
    lines = text.splitlines()
    return [
        (".".join(map(str, each.loc)), lines[(each.ctx or {}).get("line", 0) - 1].strip())
        for each in found
    ]


@pytest.mark.parametrize("notation", Notation)
def test_a_mistake_has_the_line_of_its_key(notation: Notation) -> None:
    text = re.sub("(?<!has_)efficiency", "nobody", TEXTS[notation])
    ((path, line),) = mistakes(text, notation)

    assert path.startswith("rules.0")
    assert "scopes" in line or "nobody" in line


@pytest.mark.parametrize("notation", Notation)
def test_a_text_that_can_not_be_read_has_the_line_where_it_ends(notation: Notation) -> None:
    text = TEXTS[notation] + '\n"'

    ((path, _),) = mistakes(text, notation)
    assert path == ""


@pytest.mark.parametrize("notation", Notation)
def test_the_second_part_of_a_list_is_not_the_first(notation: Notation) -> None:
    text = TEXTS[notation].replace("Network", "Billing")

    found = mistakes(text, notation)
    assert found
    assert all(line for _, line in found)


def test_what_looks_like_a_key_in_a_long_text_is_none() -> None:
    text = TELECOM.replace("\napp_id", '\nnothing = """\nname = 1\n"""\napp_id', 1)
    found = dict(mistakes(text, Notation.TOML))

    assert found["nothing"].startswith("nothing")


@pytest.mark.parametrize("notation", [Notation.TOML, Notation.YAML, Notation.JSON])
def test_every_notation_is_read_as_it_was_written(notation: Notation) -> None:
    assert documents.read(TEXTS[notation], notation, where="text") == APP
