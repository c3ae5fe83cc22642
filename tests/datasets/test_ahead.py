"""Conversations are read a few at a time, and no more of them are held than that."""

import asyncio
import io
from collections.abc import Mapping, Sequence

import pytest

from evalqueue.evaluators.datasets import imports, store
from evalqueue.evaluators.datasets.ahead import READ_AT_ONCE, ReadAhead
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.postgres.database import Database


class Letters:
    """Reads letters, each as its capital, and counts the reads."""

    def __init__(self, letters: str, *, only_first: bool = False) -> None:
        self.left = list(letters)
        self.reads: list[str] = []
        self.only_first = only_first
        self.fails = False

    async def read(self, letters: Sequence[str]) -> Mapping[str, str]:
        self.reads.append("".join(letters))
        await asyncio.sleep(0)
        if self.fails:
            self.fails = False
            raise ValueError("once")
        return {each: each.upper() for each in (letters[:1] if self.only_first else letters)}

    def upcoming(self, count: int) -> Sequence[str]:
        return self.left[:count]

    async def get(self, ahead: ReadAhead[str]) -> str | None:
        return await ahead.get(self.left.pop(0))


async def test_what_is_next_is_read_together_also_by_several_at_once():
    letters = Letters("abcdefghijkl")
    ahead = ReadAhead(letters.read, letters.upcoming)

    assert await letters.get(ahead) == "A"
    found = await asyncio.gather(*(letters.get(ahead) for _ in range(9)))
    assert found == list("BCDEFGHIJ")
    assert await letters.get(ahead) == "K"
    assert letters.reads == ["abcdefgh", "ijkl"]
    assert len(letters.reads[0]) == READ_AT_ONCE


async def test_what_a_read_leaves_out_is_read_when_it_is_asked_for():
    letters = Letters("abc", only_first=True)
    ahead = ReadAhead(letters.read, letters.upcoming)

    assert [await letters.get(ahead) for _ in "abc"] == list("ABC")
    assert letters.reads == ["abc", "b", "c"]


async def test_a_read_that_fails_fails_for_the_one_who_asked():
    letters = Letters("abc")
    letters.fails = True
    ahead = ReadAhead(letters.read, letters.upcoming)

    asked = await asyncio.gather(*(letters.get(ahead) for _ in "abc"), return_exceptions=True)

    assert isinstance(asked[0], ValueError)
    assert asked[1:] == ["B", "C"]


async def test_one_that_is_cancelled_takes_no_other_along():
    letters = Letters("abc")
    ahead = ReadAhead(letters.read, letters.upcoming)
    first, second, third = [asyncio.create_task(letters.get(ahead)) for _ in "abc"]
    await asyncio.sleep(0)
    second.cancel()
    assert [await first, await third] == ["A", "C"]


@pytest.mark.parametrize(
    ("characters", "read"),
    [(20, ["t1", "t2", "t3"]), (store.AHEAD_BYTES * 6, ["t1"])],
    ids=["small", "large"],
)
async def test_large_conversations_are_not_read_before_their_turn(
    database: Database, characters: int, read: list[str]
):
    # No character follows from another one: stored texts are compressed.
    text = "".join(chr(0x4E00 + (number * 7919 * number) % 20_000) for number in range(characters))
    rows = [f"t{number},u,2026-01-01 10:00:00,{text},Yes" for number in (1, 2, 3)]
    content = "\n".join(["thread_id,user_id,timestamp,user_text,bot_text", *rows]).encode()
    incoming = Incoming(file=io.BytesIO(content), name="a.csv")
    dataset_id = (await imports.add(database, incoming, owner="ann", kept=True)).dataset_id

    async with database.connection() as connection:
        found = await store.threads_ahead(connection, dataset_id, ["t1", "none", "t2", "t3"])
        whole = [await store.thread(connection, dataset_id, each) for each in read]
        gone = await store.threads_ahead(connection, dataset_id, ["none", "t1"])

    assert sorted(each.thread_id for each in found) == read
    assert sorted(found, key=lambda each: each.thread_id) == whole
    assert all(each.thread_id == "t1" for each in gone)
