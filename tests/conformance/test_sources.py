"""What every source keeps to, whichever it is. A new one is one more line in `SOURCES`."""

from collections.abc import Callable

import pytest

from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.conversations import kaira_csv, sample_csv
from evalqueue.evaluators.sources import BadData, Source
from evalqueue.evaluators.sources.csv import CsvSource

SOURCES: dict[str, Callable[[], Source]] = {
    "csv": lambda: CsvSource.of_text(kaira_csv().read_text()),
    "csv file": lambda: CsvSource.of_file(sample_csv().parent, sample_csv().name),
}
BAD: dict[str, Callable[[], Source]] = {"csv": lambda: CsvSource.of_text("thread_id\nt1\n")}


async def read(source: Source) -> list[Thread]:
    return [thread async for thread in source.threads()]


@pytest.mark.parametrize("kind", SOURCES)
async def test_it_gives_the_same_threads_in_the_same_order_each_time(kind: str):
    first, second = await read(SOURCES[kind]()), await read(SOURCES[kind]())

    assert first
    assert first == second
    assert len({thread.thread_id for thread in first}) == len(first)


@pytest.mark.parametrize("kind", SOURCES)
async def test_turns_are_numbered_from_one_in_the_order_they_happened(kind: str):
    for thread in await read(SOURCES[kind]()):
        assert [turn.number for turn in thread.turns] == list(range(1, len(thread.turns) + 1))
        times = [turn.timestamp for turn in thread.turns]
        assert times == sorted(times)
        assert all(time.tzinfo is not None for time in times)


@pytest.mark.parametrize("kind", BAD)
async def test_bad_data_is_refused_whole_and_says_where(kind: str):
    with pytest.raises(BadData) as refused:
        await read(BAD[kind]())

    assert all(row.file and row.reason for row in refused.value.rows)
