"""Where conversations come from: what a format reads, and how it complains.

A format reads a file, once and from its beginning, into messages; it keeps none of them. It refuses
bad data as a whole and names every fault at once: half a dataset would give rates that look like
the whole's, and one fault per attempt makes a person submit twenty times.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import BinaryIO, NamedTuple, Protocol

BAD_ROWS_KEPT = 1_000  # faults listed by one BadData; the rest is only counted
BAD_ROWS_IN_MESSAGE = 5
SHOWN_CHARACTERS = 60  # of a value quoted in a reason
ID_CHARACTERS = 500  # at most, of threads and users: what tables, indexes and lists of them take


class Message(NamedTuple):
    """One user message and the bot's answer, as a file has it. A dataclass takes twice as long."""

    row: int
    """Where a spreadsheet or an editor shows it."""
    thread_id: str
    user_id: str
    timestamp: datetime
    """Aware; a source without a time zone means UTC."""
    user_text: str
    bot_text: str
    routed_intent: str | None
    routed_query_type: str | None
    has_image: bool
    error: str | None
    session_id: str | None
    response_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a file, for whoever has to say what is in it."""

    name: str
    samples: tuple[str, ...]
    """Some of its first values, cut short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the first rows of a file say about its columns."""

    columns: tuple[Column, ...] = ()
    mapping: Mapping[str, str]
    """Our column: the file's header. As given, and for the rest the best guess."""
    missing: tuple[str, ...] = ()
    """Columns of ours that are needed and that no header stands for."""


class Format(Protocol):
    """A way to write conversations into a file. Everything blocks: it belongs into a thread."""

    @property
    def name(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the names of such files."""
        ...

    def messages(
        self,
        file: BinaryIO,
        faults: "Faults",
        *,
        mapping: Mapping[str, str] | None = None,
        is_cut: bool = False,
    ) -> Iterator[Message]:
        """Every message in the file's order; none any more once there is a fault.

        The rows of a thread may be anywhere, in any order: they are put together by `thread_id`,
        and those of one moment keep the file's order.

        Args:
            file: at its beginning; is read in order, a little at a time.
            mapping: our column: the file's header, where it has another name.
            is_cut: the file goes on beyond its end; what that leaves open is no fault.
        """
        ...

    def effective(self, file: BinaryIO, mapping: Mapping[str, str]) -> Mapping[str, str]:
        """What of a mapping changes anything; the rest says what the file itself says."""
        ...

    def head(self, file: BinaryIO, mapping: Mapping[str, str] | None = None) -> Head:
        """What there is to know about the columns of a file that is at its beginning."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentStatistics:
    """What a dataset holds, for whoever looks before they pay for judging it."""

    messages: int
    threads: int
    users: int
    first_at: datetime | None
    """None: there are no messages."""
    last_at: datetime | None
    intents: Mapping[str, int]
    """Messages per routed intent, most frequent first; messages without one are in none."""
    messages_with_images: int
    messages_with_errors: int


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


class FormatError(Exception):
    """The conversations can't be had, and the person who named the source can put it right."""

    def as_json(self) -> dict[str, object]:
        return {"message": str(self)}


class BadData(FormatError):
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

    def as_json(self) -> dict[str, object]:
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
            raise BadData(self.rows, self._more)

    @property
    def rows(self) -> tuple[BadRow, ...]:
        """The first of them."""
        return tuple(self._rows)

    @property
    def more(self) -> int:
        """How many there are besides."""
        return self._more


def shown(value: str) -> str:
    """A value from outside, fit to stand in a message: quoted, on one line, not too long."""
    return repr(value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "…")
