"""Logs that repeat their history: each record has the conversation so far, and one turn more."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A turn of a conversation, without its texts."""

    number: int
    """Its place in the file."""
    record: int
    """Which record it comes from."""
    at: datetime
    asked: int
    """Hash of the user's message."""
    content: int
    """Hash of the user's message and the answer."""
    is_open: bool
    """Whether it has neither an answer nor an error: a later record may have the answer."""


def may_repeat(entries: Iterable[Entry], *, has_calls: bool) -> bool:
    """Whether the records of a conversation can be read as history: a record has several turns, or
    one ends at a tool call. Records of single turns are a log that repeats nothing."""
    found = [entry.record for entry in entries]
    records = len(set(found))
    return records > 1 and (has_calls or records < len(found))


def repeated(entries: Sequence[Entry]) -> list[int]:
    """The numbers of the turns of one conversation that only repeat others.

    A record may repeat the whole conversation so far, its end, or what an earlier record has left
    unanswered. The first occurrence of a turn stays, because its time is the true one.

    Args:
        entries: in order of time, and in the file's order where times are equal.
    """
    kept: list[Entry] = []
    dropped: list[int] = []
    records: dict[int, list[Entry]] = {}
    for entry in entries:
        records.setdefault(entry.record, []).append(entry)
    for record in records.values():
        record.sort(key=lambda entry: entry.number)
        start, count = _overlap(kept, record)
        for old, new in zip(range(start, start + count), record, strict=False):
            if kept[old].is_open and not new.is_open:
                dropped.append(kept[old].number)
                kept[old] = new
            else:
                dropped.append(new.number)
        kept += record[count:]
    return dropped


def _overlap(kept: Sequence[Entry], record: Sequence[Entry]) -> tuple[int, int]:
    """Where in the conversation a record begins, and how many of its turns are there already."""
    for start in range(len(kept)):  # the longest overlap begins first
        count = min(len(kept) - start, len(record))
        if _matches(kept[start : start + count], record):
            is_lone = len(record) == 1 and not kept[start].is_open
            if is_lone and (start + 1 < len(kept) or record[0].at != kept[start].at):
                break  # the same was said again
            return start, count
    count = 0  # the conversation was continued from an earlier turn
    for old, new in zip(kept, record, strict=False):
        if not _matches([old], [new]):
            break
        count += 1
    return 0, count if count < len(record) else 0


def _matches(kept: Sequence[Entry], record: Sequence[Entry]) -> bool:
    return all(
        old.content == new.content or (old.asked == new.asked and (old.is_open or new.is_open))
        for old, new in zip(kept, record, strict=False)
    )
