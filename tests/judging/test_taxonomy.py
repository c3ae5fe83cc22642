"""The labels that a taxonomy in free text lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators.judging import taxonomy
from evalqueue.evaluators.judging.taxonomy import Taxonomy

BULLETS = """You route messages of a telephone company.

Agents:
- Billing: invoices and payments
  - e.g. "why is my bill so high"
- **Network Trouble** - calls and data do not work
* `SmallTalk` (greetings, thanks)

Query types:
1. action: something is to be done
2. information: something is to be explained
"""
MARKDOWN = "## Intents\n\n- Billing\n- Network\n\n### Query types\n\n- action\n- information\n"
INLINE = 'Agents: Billing, Network, SmallTalk.\nQuery types: "action" | "information"'
PROSE = "FoodAgent is for $food. Choose it whenever somebody eats: it is the most frequent."


@pytest.mark.parametrize(
    ("text", "intents", "query_types"),
    [
        (BULLETS, ("Billing", "Network Trouble", "SmallTalk"), ("action", "information")),
        (MARKDOWN, ("Billing", "Network"), ("action", "information")),
        (INLINE, ("Billing", "Network", "SmallTalk"), ("action", "information")),
        (PROSE, (), ()),
        ("", (), ()),
        ("- Billing: one label is no menu", (), ()),
        ("- Always be careful when you choose\n- Never guess what the user has meant", (), ()),
    ],
)
def test_labels_are_found_where_they_are_listed(
    text: str, intents: tuple[str, ...], query_types: tuple[str, ...]
) -> None:
    assert taxonomy.read(text) == Taxonomy(intents=intents, query_types=query_types)


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    found = taxonomy.read(text)

    assert len(set(found.intents)) == len(found.intents) != 1


def test_a_text_may_speak_of_the_labels_of_the_app() -> None:
    assert taxonomy.names_any(PROSE, ["FoodAgent", "General"])
    assert not taxonomy.names_any(PROSE, ["Billing", "General"])
