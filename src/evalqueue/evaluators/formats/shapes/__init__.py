"""Shapes of conversations in JSON: how logs, exports and SDKs write them.

A record is a JSON object of a file. The first shape in the registry that recognises a record reads
it; a shape knows only where the messages and what is known besides are. How a single message is
read (its role, text, tool calls, errors) is the same for all of them: `content.part_of`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from evalqueue.evaluators.formats import DateOrder
from evalqueue.evaluators.formats.shapes.assembly import Conversation, Part

Object = Mapping[str, Any]  # JSON


class ShapeError(Exception):
    """A record has a shape that is known, and can't be read."""

    def __init__(self, column: str | None, reason: str) -> None:
        super().__init__(column, reason)
        self.column = column
        """The place in the record. None: the whole record."""
        self.reason = reason


class Shape(Protocol):
    """A shape of JSON records."""

    @property
    def name(self) -> str:
        """Its name in error messages."""
        ...

    def recognises(self, record: Object) -> bool:
        """Whether a record has this shape. Looks at few keys, and at no message's text."""
        ...

    def conversations(self, record: Object, order: DateOrder | None) -> Iterable[Conversation]:
        """The conversations of a record.

        Args:
            order: of dates like 1/2/2025. None: such dates are refused.

        Raises:
            ShapeError: it can't be read.
        """
        ...


class ScatteredShape(Protocol):
    """A shape whose records are single messages of conversations, anywhere in a file."""

    @property
    def name(self) -> str: ...

    def recognises(self, record: Object) -> bool: ...

    def part(self, record: Object, order: DateOrder | None) -> tuple[str, Part]:
        """The conversation that a record belongs to, and its message.

        Raises:
            ShapeError: it can't be read.
        """
        ...

    def conversation(self, thread_id: str, parts: list[Part]) -> Conversation:
        """A conversation from all of its parts, in the file's order."""
        ...
