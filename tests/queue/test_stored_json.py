"""JSON for the database: what Postgres refuses is replaced, and everything else stays as it is."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.rows import TupleRow

from evalqueue import codec
from evalqueue.postgres.database import Database
from evalqueue.postgres.rows import jsonb

HIGH, LOW = "\ud83d", "\udc00"
PIECES = ["\\", HIGH, LOW, "\\ud83d", "\\udc00", "\\u0000", "\x00", "😀", "é", "u", '"', "\n"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@given(TEXTS)
@example(f"\\ud83d{LOW}")
@example(f"{HIGH}\\udc00")
@example(f"{HIGH}😀{LOW}")
def test_no_half_of_a_pair_and_no_nul_is_left(text: str):
    stored = json.loads(codec.dump_json({text: [text]}))

    ((key, (value,)),) = stored.items()
    assert key == value == codec.clean_text(value)
    if text == codec.clean_text(text):
        assert value == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
        lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
        max_leaves=5,
    )
)
@example([float("nan"), HIGH, "\x00", "\\u0000"])
def test_the_fast_encoder_writes_the_same(value: object):
    assert json.loads(codec.encode_json(value)) == json.loads(codec.dump_json(value))


@pytest.mark.parametrize(
    "text", [f"\\ud83d{LOW}", f"{HIGH}\\udc00", f"😀{HIGH}", f"{LOW}😀", "\x00"]
)
async def test_postgres_takes_it(database: Database, text: str):
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT %s", [jsonb([text])])
        row: TupleRow | None = await cursor.fetchone()
    assert row == ([codec.clean_text(text)],)
