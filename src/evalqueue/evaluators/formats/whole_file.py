"""Reads a small file into memory, to try an evaluator without a database."""

from collections.abc import Iterable
from pathlib import Path

from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.formats import DateOrder, Faults, Message
from evalqueue.evaluators.formats.history import Entry, may_repeat, repeated
from evalqueue.evaluators.formats.raw.compression import decompressed
from evalqueue.evaluators.formats.registry import format_of


def read_threads(path: Path, *, date_order: DateOrder | None = None) -> tuple[Thread, ...]:
    """The conversations of a file, in order of first appearance. Blocks.

    Raises:
        BadData: some rows are bad.
        FormatError: it can't be read at all.
    """
    faults = Faults(path.name)
    with path.open("rb") as file:
        form = format_of(file, name=path.name)
        messages = list(form.messages(decompressed(file), faults, date_order=date_order))
    faults.raise_if_any()
    return grouped(messages)


def grouped(messages: Iterable[Message]) -> tuple[Thread, ...]:
    """Groups messages into conversations."""
    by_thread: dict[str, list[tuple[int, Message]]] = {}
    for number, message in enumerate(messages):
        by_thread.setdefault(message.thread_id, []).append((number, message))
    kept: list[tuple[int, list[Message]]] = []
    for of_one in by_thread.values():
        left = _without_repeated(sorted(of_one, key=lambda each: each[1].timestamp))  # stable
        same = {id(each) for each in left}
        kept.append((min(number for number, each in of_one if id(each) in same), left))
    kept.sort(key=lambda each: each[0])
    return tuple(_thread(left) for _, left in kept)


def _without_repeated(numbered: list[tuple[int, Message]]) -> list[Message]:
    entries = [
        Entry(
            number=number,
            record=message.record or message.row,
            at=message.timestamp,
            asked=hash(message.user_text),
            content=hash((message.user_text, message.bot_text)),
            is_open=not message.bot_text and message.error is None,
        )
        for number, message in numbered
    ]
    has_calls = any(message.tool_calls for _, message in numbered)
    dropped = set(repeated(entries)) if may_repeat(entries, has_calls=has_calls) else set[int]()
    return [message for number, message in numbered if number not in dropped]


def _thread(messages: list[Message]) -> Thread:
    return Thread(
        thread_id=messages[0].thread_id,
        user_id=messages[0].user_id,
        turns=tuple(each.turn(number) for number, each in enumerate(messages, start=1)),
    )
