"""Printing: data on stdout, as text or JSON, and messages on stderr.

Messages go to stderr so that a pipe receives data alone. Text from jobs is printed without control
characters, because it may come from a transcript and must not control the terminal.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 240  # characters of a line where there is no terminal, so that nothing is folded


def print_message(text: str) -> None:
    """Print a message for the person at the terminal, on stderr."""
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()


def print_data(text: str) -> None:
    """Print data, on stdout."""
    sys.stdout.write(f"{printable(text)}\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Print one JSON document on one line."""
    print_data(json.dumps(value, ensure_ascii=False, default=_json_default))


def print_result(document: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print the result of a command, as JSON or as text."""
    if as_json:
        print_json(document)
    else:
        print_data(text)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading == "id")
    for row in rows:
        table.add_row(*(printable(str(value)) for value in row))
    rich_console().print(table)


def printable(text: str) -> str:
    """The text with each control character replaced by a visible one."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def row_json(row: Any) -> dict[str, object]:
    """A dataclass as JSON; the names of durations end in `_seconds`."""
    return {
        f"{name}_seconds" if isinstance(value, timedelta) else name: value
        for name, value in asdict(row).items()
    }


def rich_console(*, stderr: bool = False) -> "Console":
    """A rich console that prints text as it is: no markup, no emoji codes."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        width=None if stream.isatty() else _PIPE_WIDTH,
    )


def _json_default(value: object) -> str | float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if isinstance(value, datetime) else str(value)
