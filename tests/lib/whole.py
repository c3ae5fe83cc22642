"""Reads and groups a file in memory, as the expected result of the streaming reader."""

import hashlib
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.formats import ContentStatistics, Faults, Format
from evalqueue.evaluators.formats.csv import CSV
from evalqueue.evaluators.formats.whole_file import grouped


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """The threads of one file."""

    name: str
    threads: tuple[Thread, ...]
    statistics: ContentStatistics
    sha256: str


def read_csv(
    content: str | bytes | Path, name: str, mapping: dict[str, str] | None = None
) -> Whole:
    return read_whole(CSV, content, name, mapping)


def read_whole(
    form: Format, content: str | bytes | Path, name: str, mapping: dict[str, str] | None = None
) -> Whole:
    """Read, check and group a file; raises `BadData`."""
    match content:
        case Path():
            data = content.read_bytes()
        case str():
            data = content.encode("utf-8", "surrogatepass")
        case bytes():
            data = content
    faults = Faults(name)
    messages = list(form.messages(io.BytesIO(data), faults, mapping=mapping))
    faults.raise_if_any()
    threads = grouped(messages)
    return Whole(
        name=name,
        threads=threads,
        statistics=statistics_of(threads),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def statistics_of(threads: tuple[Thread, ...]) -> ContentStatistics:
    turns = [turn for thread in threads for turn in thread.turns]
    intents = Counter(turn.routed_intent for turn in turns if turn.routed_intent is not None)
    return ContentStatistics(
        messages=len(turns),
        threads=len(threads),
        users=len({thread.user_id for thread in threads}),
        first_at=min((turn.timestamp for turn in turns), default=None),
        last_at=max((turn.timestamp for turn in turns), default=None),
        intents=dict(sorted(intents.items(), key=lambda pair: (-pair[1], pair[0]))),
        messages_with_images=sum(turn.has_image for turn in turns),
        messages_with_errors=sum(turn.error is not None for turn in turns),
    )
