"""Groups parts of conversations that are scattered over a file: on disk, not in memory."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from evalqueue.evaluators.conversation import ExpectedCall
from evalqueue.evaluators.formats.shapes.assembly import Call, Part

_BLOCK = 500  # parts
_SCHEMA = "CREATE TABLE part (number INTEGER PRIMARY KEY, name TEXT NOT NULL, body TEXT NOT NULL)"
_INDEX = "CREATE INDEX part_name ON part (name)"
_NAMES = "SELECT name FROM part GROUP BY name ORDER BY min(number)"
_LAST = "SELECT name FROM part ORDER BY number DESC LIMIT 1"
_BODIES = "SELECT body FROM part WHERE name = ? ORDER BY number"


class PartStore:
    """Parts by the conversation that they belong to."""

    def __init__(self) -> None:
        # The empty name: a private temporary file, which disappears when it is closed. Messages
        # are taken in threads, one after another.
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.execute("BEGIN")
        self._database.execute(_SCHEMA)
        self._block: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.close()

    def add(self, name: str, part: Part) -> None:
        """Put a part to the others of this conversation."""
        self._block.append((name, json.dumps(asdict(part), default=datetime.isoformat)))
        if len(self._block) >= _BLOCK:
            self._flush()

    def groups(self, *, without_last: bool = False) -> Iterator[tuple[str, list[Part]]]:
        """Each conversation with its parts, in order of first appearance.

        Args:
            without_last: leave out the conversation of the last part, which may be incomplete.
        """
        self._flush()
        self._database.execute(_INDEX)
        left_out = self._database.execute(_LAST).fetchone() if without_last else None
        for (name,) in self._database.execute(_NAMES):
            if left_out is None or name != left_out[0]:
                bodies = self._database.execute(_BODIES, (name,))
                yield name, [_part(json.loads(body)) for (body,) in bodies]

    def _flush(self) -> None:
        statement = "INSERT INTO part (name, body) VALUES (?, ?)"
        self._database.executemany(statement, self._block)
        self._block.clear()


def _part(value: dict[str, Any]) -> Part:
    at = value["at"]
    value["at"] = None if at is None else datetime.fromisoformat(at)
    value["calls"] = [Call(**each) for each in value["calls"]]
    if (expected := value["expected_calls"]) is not None:
        value["expected_calls"] = tuple(ExpectedCall(**each) for each in expected)
    return Part(**value)
