"""File formats of conversations: what a format reads, and how it reports faults.

A format reads a file, once and from its beginning, into messages, and stores none of them. It
refuses bad data as a whole, since half a dataset would give misleading rates. It names every fault
at once, so that a person can correct all of them before the next try.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import BinaryIO, NamedTuple, Protocol

from evalqueue.evaluators.conversation import ExpectedCall, ToolCall, Turn

BAD_ROWS_KEPT = 1_000  # faults listed by one BadData; the rest is only counted
BAD_ROWS_IN_MESSAGE = 5
NOTICES_KEPT = 100  # kinds of remarks about a file
SHOWN_CHARACTERS = 60  # of a value quoted in a reason
ID_CHARACTERS = 500  # of threads and users: the limit of tables and indexes
UNKNOWN_USER = "unknown"


class DateOrder(StrEnum):
    """What 1/2/2025 means in a file."""

    DAY_FIRST = "day-first"
    MONTH_FIRST = "month-first"


class Message(NamedTuple):
    """One user message and the bot's answer. A dataclass would take twice as long to create."""

    row: int
    """The row number that a spreadsheet or an editor shows."""
    thread_id: str
    user_id: str
    timestamp: datetime
    """An aware time. A file without a time zone means UTC; without a time, `UNKNOWN_TIME`."""
    user_text: str
    bot_text: str
    routed_intent: str | None
    routed_query_type: str | None
    has_image: bool
    error: str | None
    session_id: str | None
    response_id: str | None
    system: str | None = None
    context: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    record: int = 0
    """Messages with the same number come from one record of the file: see `history`. 0: as `row`,
    for files with a record to a row."""
    expected: str | None = None
    """The reference answer."""
    tools: str | None = None
    expected_tool_calls: tuple[ExpectedCall, ...] | None = None
    alternative: str | None = None
    """Another answer to the same message."""
    latency_seconds: float | None = None
    wait_seconds: float | None = None
    """Between the times of the user's message and of the answer."""
    other_users: tuple[str, ...] = ()
    """Who has sent a part of the user's message besides."""

    def turn(self, number: int) -> Turn:
        """It as a turn of its conversation."""
        return Turn(
            number=number,
            timestamp=self.timestamp,
            user_text=self.user_text,
            bot_text=self.bot_text,
            routed_intent=self.routed_intent,
            routed_query_type=self.routed_query_type,
            has_image=self.has_image,
            error=self.error,
            session_id=self.session_id,
            response_id=self.response_id,
            system=self.system,
            context=self.context,
            tool_calls=self.tool_calls,
            expected=self.expected,
            alternative=self.alternative,
            tools=self.tools,
            expected_tool_calls=self.expected_tool_calls,
            latency_seconds=self.latency_seconds,
            wait_seconds=self.wait_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a file, for a person who has to map it."""

    name: str
    samples: tuple[str, ...]
    """Some of its first values, truncated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The columns of a file, from its first rows."""

    columns: tuple[Column, ...] = ()
    mapping: Mapping[str, str]
    """From our columns to the file's headers: as given, and guessed for the others."""
    missing: tuple[str, ...] = ()
    """Our required columns that no header is mapped to."""
    is_date_order_needed: bool = False
    """Whether the file's beginning has dates like 1/2/2025, and does not decide their order."""


class Format(Protocol):
    """A file format of conversations. Every method blocks: call it in a thread."""

    @property
    def name(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The suffixes of the names of such files."""
        ...

    def recognises(self, start: bytes) -> bool:
        """Whether only files of this format begin so.

        Args:
            start: some of a file's first bytes, after white space and a byte order mark.
        """
        ...

    def messages(
        self,
        file: BinaryIO,
        faults: "Faults",
        *,
        mapping: Mapping[str, str] | None = None,
        date_order: DateOrder | None = None,
        is_cut: bool = False,
    ) -> Iterator[Message]:
        """Every message in the file's order. After the first fault, no more messages are yielded.

        The rows of a thread may be anywhere, in any order. They are grouped by `thread_id`, and
        rows with the same time keep the file's order.

        Args:
            file: at its beginning. It is read sequentially, in small blocks.
            mapping: from our columns to the file's headers, where the guess is wrong. "": the file
                has no such column.
            date_order: of dates like 1/2/2025. None: as the file decides; if it does not, such
                dates are faults.
            is_cut: whether the file is only the beginning of a larger one. An incomplete end is
                then no fault.
        """
        ...

    def effective(self, file: BinaryIO, mapping: Mapping[str, str]) -> Mapping[str, str]:
        """The entries of a mapping that change something. The others equal the guess."""
        ...

    def head(self, file: BinaryIO, mapping: Mapping[str, str] | None = None) -> Head:
        """The columns of a file. The file has to be at its beginning."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentStatistics:
    """The content of a dataset in figures, for a preview before it is judged."""

    messages: int
    threads: int
    users: int
    first_at: datetime | None
    """None: there are no messages."""
    last_at: datetime | None
    intents: Mapping[str, int]
    """Messages per routed intent, most frequent first. Messages without an intent do not count."""
    messages_with_images: int
    messages_with_errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """One fault, and its place in a spreadsheet."""

    file: str
    row: int | None
    """The header is row 1. None: the fault concerns the whole file."""
    column: str | None
    """None: the fault concerns the whole row."""
    reason: str

    def __str__(self) -> str:
        where = [] if self.row is None else [f"row {self.row}"]
        where += [] if self.column is None else [f"column {self.column}"]
        return f"{', '.join(where) or 'the file'}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A remark about a file that was read: what a person should check."""

    kind: str
    count: int
    """How many rows or conversations it concerns."""
    row: int | None
    """The first row that it concerns. None: it concerns the whole file."""
    message: str

    def __str__(self) -> str:
        where = "" if self.row is None else f" (first in row {self.row})"
        return f"{self.message}{where}"


class FormatError(Exception):
    """The conversations can't be read. The person who named the file can correct that."""

    def as_json(self) -> dict[str, object]:
        return {"message": str(self)}


class BadData(FormatError):
    """The data was read and has faults."""

    def __init__(self, rows: tuple[BadRow, ...], more: int = 0) -> None:
        super().__init__(rows, more)
        self.rows = rows
        """The first faults, at most `BAD_ROWS_KEPT`."""
        self.more = more
        """How many more faults there are."""

    def __str__(self) -> str:
        found = len(self.rows) + self.more
        faults = "1 fault" if found == 1 else f"{found:,} faults"
        lines = [f"{self.rows[0].file}: {faults}, so nothing was read."]
        lines += [f"  {row}" for row in self.rows[:BAD_ROWS_IN_MESSAGE]]
        if found > BAD_ROWS_IN_MESSAGE:
            lines.append(f"  … and {found - BAD_ROWS_IN_MESSAGE:,} more")
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        return {
            "message": str(self),
            "bad_rows": [asdict(row) for row in self.rows],
            "more": self.more,
        }


class Faults:
    """Collects the faults of one file and the remarks about it, at most as many as can be shown."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._rows: list[BadRow] = []
        self._more = 0
        self._notices: dict[str, Notice] = {}

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, row: int | None, column: str | None, reason: str) -> None:
        if len(self._rows) < BAD_ROWS_KEPT:
            self._rows.append(BadRow(file=self._file, row=row, column=column, reason=reason))
        else:
            self._more += 1

    def note(self, kind: str, row: int | None, message: str, *, count: int = 1) -> None:
        """Remark something that is no fault. Of each kind, the first message stays."""
        earlier = self._notices.get(kind)
        if earlier is not None:
            self._notices[kind] = replace(earlier, count=earlier.count + count)
        elif len(self._notices) < NOTICES_KEPT:
            self._notices[kind] = Notice(kind=kind, count=count, row=row, message=message)

    def raise_if_any(self) -> None:
        if self._rows:
            raise BadData(self.rows, self._more)

    @property
    def rows(self) -> tuple[BadRow, ...]:
        """The first faults."""
        return tuple(self._rows)

    @property
    def notices(self) -> tuple[Notice, ...]:
        return tuple(self._notices.values())

    @property
    def more(self) -> int:
        """How many more faults there are, which are only counted."""
        return self._more


def shown(value: str) -> str:
    """An untrusted value for a message: quoted, on one line, not too long."""
    return repr(value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "…")
