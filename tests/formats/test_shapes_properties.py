"""What holds for every shape: what was written is read, whatever the order of keys."""

import io
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shape_writers import WRITERS, Json, Written

from evalqueue.evaluators.formats import Faults
from evalqueue.evaluators.formats.jsonl import JSONL
from evalqueue.evaluators.formats.registry import format_of
from evalqueue.evaluators.formats.whole_file import grouped

# A record's text that is a JSON array or object would be taken for what is inside it.
texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
).filter(lambda text: text.strip() and text.strip()[:1] not in "[{")
turns = st.lists(st.tuples(texts, texts | st.just("")), min_size=1, max_size=4)
conversations = st.lists(turns, min_size=1, max_size=3).map(
    lambda found: [Written(id=f"c-{n}", turns=each) for n, each in enumerate(found)]
)
EMPTY: list[Any] = [None, "", [], {}]
BESIDE = ("metadata", "tags", "x_custom", "error", "user_id", "comment")


def scrambled(value: Any, rng: random.Random, *, is_record: bool = True) -> Any:
    """The same value with its keys in another order; a record also has more keys."""
    if isinstance(value, list):
        return [scrambled(each, rng, is_record=False) for each in value]
    if not isinstance(value, dict):
        return value
    pairs = [(key, scrambled(each, rng, is_record=False)) for key, each in value.items()]
    if is_record:
        pairs += [(name, rng.choice(EMPTY)) for name in BESIDE if name not in value]
    rng.shuffle(pairs)
    return dict(pairs)


def read(content: bytes, name: str = "a.jsonl") -> dict[str, list[tuple[str, str]]]:
    faults = Faults(name)
    file = io.BytesIO(content)
    found = list(format_of(file, name=name).messages(file, faults))
    faults.raise_if_any()
    return {
        thread.thread_id: [(turn.user_text, turn.bot_text) for turn in thread.turns]
        for thread in grouped(found)
    }


def lines(records: list[Json]) -> bytes:
    return "\n".join(map(json.dumps, records)).encode()


@pytest.mark.parametrize("writer", WRITERS)
@settings(deadline=None, max_examples=40)
@given(found=conversations, seed=st.integers(0, 99))
def test_what_was_written_is_read(writer: str, found: list[Written], seed: int):
    rng = random.Random(seed)  # noqa: S311
    records = [scrambled(each, rng) for one in found for each in WRITERS[writer](one)]
    expected = {each.id: list(each.turns) for each in found}

    assert read(lines(records)) == expected
    assert read(json.dumps(records, indent=rng.choice([None, 1])).encode(), "a.json") == expected


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_read_or_refused(content: bytes):
    faults = Faults("a.jsonl")
    found = list(JSONL.messages(io.BytesIO(content), faults))

    assert bool(found) != bool(faults)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["messages", "role", "content", "input", "output", "id", "parts", "type", "contents",
             "conversation", "tool_calls", "error", "body", "response", "samples", "prompt",
             "mapping", "text", "timestamp", "question", "answer", "choices", "function"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(values, min_size=1, max_size=3))
def test_any_json_is_read_or_refused(found: list[Any]):
    """Whatever the shapes look at: nothing but faults comes of it."""
    for content in (lines(found), json.dumps(found).encode()):
        faults = Faults("a.jsonl")
        file = io.BytesIO(content)
        list(format_of(file, name="a").messages(file, faults))
        assert all(row.reason and "Error: " not in row.reason for row in faults.rows)
