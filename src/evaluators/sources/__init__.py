"""Where threads come from: the `Source` protocol, what a source hands over, how it complains.

A source refuses bad data as a whole and names every fault at once: half a dataset would give rates
that look like the whole's, and one fault per attempt makes a person submit twenty times.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol, Self

from evalqueue.evaluators.conversation import Thread

BAD_ROWS_KEPT = 1_000  # faults listed by one BadData; the rest is only counted
BAD_ROWS_IN_MESSAGE = 5
SHOWN_CHARACTERS = 60  # of a value quoted in a reason


class Source(Protocol):
    """Somewhere conversations can be read from."""

    def threads(self) -> AsyncIterator[Thread]:
        """Every thread once, in an order that is the same each time.

        Raises `SourceError` for what the person who named the source can put right.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What a dataset holds, for whoever looks before they pay for judging it."""

    messages: int
    threads: int
    users: int
    first_at: datetime | None
    """None: there are no messages."""
    last_at: datetime | None
    intents: dict[str, int]
    """Messages per routed intent, most frequent first; messages without one are in none."""
    messages_with_images: int
    messages_with_errors: int

    @classmethod
    def of(cls, threads: Iterable[Thread]) -> Self:
        threads = tuple(threads)
        turns = [turn for thread in threads for turn in thread.turns]
        intents = Counter(turn.routed_intent for turn in turns if turn.routed_intent is not None)
        return cls(
            messages=len(turns),
            threads=len(threads),
            users=len({thread.user_id for thread in threads}),
            first_at=min((turn.timestamp for turn in turns), default=None),
            last_at=max((turn.timestamp for turn in turns), default=None),
            intents=dict(sorted(intents.items(), key=lambda pair: (-pair[1], pair[0]))),
            messages_with_images=sum(turn.has_image for turn in turns),
            messages_with_errors=sum(turn.error is not None for turn in turns),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The threads of one source, read and checked."""

    name: str
    threads: tuple[Thread, ...]
    """In order of first appearance."""
    statistics: Statistics
    sha256: str
    """Of the content as it was read: the same hash means the same threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """One fault, and where a spreadsheet shows it."""

    file: str
    row: int | None
    """The header is row 1; None: the fault is the file's, not a row's."""
    column: str | None
    """None: the fault is the whole row's."""
    reason: str

    def __str__(self) -> str:
        where = [] if self.row is None else [f"row {self.row}"]
        where += [] if self.column is None else [f"column {self.column}"]
        return f"{', '.join(where) or 'the file'}: {self.reason}"


class SourceError(Exception):
    """The conversations can't be had, and the person who named the source can put it right."""

    def as_json(self) -> dict[str, Any]:
        return {"message": str(self)}


class BadData(SourceError):
    """The data was read and is not what it has to be."""

    def __init__(self, rows: tuple[BadRow, ...], more: int = 0) -> None:
        super().__init__(rows, more)
        self.rows = rows
        """The first faults, at most `BAD_ROWS_KEPT`."""
        self.more = more
        """How many faults there are besides."""

    def __str__(self) -> str:
        found = len(self.rows) + self.more
        faults = "1 fault" if found == 1 else f"{found:,} faults"
        lines = [f"{self.rows[0].file}: {faults}, so nothing was read."]
        lines += [f"  {row}" for row in self.rows[:BAD_ROWS_IN_MESSAGE]]
        if found > BAD_ROWS_IN_MESSAGE:
            lines.append(f"  … and {found - BAD_ROWS_IN_MESSAGE:,} more")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        return {
            "message": str(self),
            "bad_rows": [asdict(row) for row in self.rows],
            "more": self.more,
        }


class Faults:
    """Collects what is wrong with one file, and never more of it than can be shown."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._rows: list[BadRow] = []
        self._more = 0

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, row: int | None, column: str | None, reason: str) -> None:
        if len(self._rows) < BAD_ROWS_KEPT:
            self._rows.append(BadRow(file=self._file, row=row, column=column, reason=reason))
        else:
            self._more += 1

    def raise_if_any(self) -> None:
        if self._rows:
            raise BadData(tuple(self._rows), self._more)


def shown(value: str) -> str:
    """A value from outside, fit to stand in a message: quoted, on one line, not too long."""
    return repr(value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "…")
