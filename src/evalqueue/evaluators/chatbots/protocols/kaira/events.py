"""The events of a Kaira stream: lines are joined to JSON chunks.

The parser accepts the stream as it really is: JSON over several lines, events without an empty line
between them, keep-alives that are bare digits. Like the app, it skips data that is no chunk, but it
records the first such data. Its time is linear in the length of the input.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from evalqueue.evaluators.chatbots.transport import json_object

Chunk = Mapping[str, Any]
"""A JSON object whose `type` is a name."""

_DEEPEST = 40  # levels of JSON: what is deeper could not be stored
_KEEP_ALIVE = re.compile(r"[0-9]+\Z")
_FIELDS = frozenset({"", "data", "event", "id", "retry"})


class Events:
    """Reads one stream, line by line."""

    def __init__(self) -> None:
        self.is_done = False
        """Whether `[DONE]` was received."""
        self.chunks = 0
        """How many chunks were received."""
        self.unread: str | None = None
        """The first data that was no chunk."""
        self._pending: list[str] = []
        self._event = ""

    def feed(self, line: str) -> Sequence[Chunk]:
        """Add a line. Yields the chunks that it completes."""
        if not line:
            return self.end()
        name, _, value = line.removeprefix("\ufeff").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            return self._data(value)
        if name == "event":
            self._event = value.strip()
        elif name not in _FIELDS and self._pending:
            self._pending.append(line)  # JSON over several lines
        elif name not in _FIELDS:
            self._pass_over(line)
        return ()

    def end(self) -> Sequence[Chunk]:
        """End an event or the stream. Yields the chunk in the lines since the last one, if any."""
        text, event = "\n".join(self._pending), self._event
        self._pending.clear()
        self._event = ""
        return self._read(text, event) if text else ()

    def _data(self, value: str) -> Sequence[Chunk]:
        if _KEEP_ALIVE.match(value):
            return ()
        if value.strip() == "[DONE]":
            self.is_done = True
            return self.end()
        if _chunk(value, "") is None:
            self._pending.append(value)
            return ()
        return (*self.end(), *self._read(value, ""))  # there may be no empty line between chunks

    def _read(self, text: str, event: str) -> Sequence[Chunk]:
        chunk = _chunk(text, event)
        if chunk is None:
            self._pass_over(text)
            return ()
        self.chunks += 1
        return (chunk,)

    def _pass_over(self, text: str) -> None:
        self.unread = self.unread or text


def _chunk(text: str, event: str) -> Chunk | None:
    found = json_object(text)
    if found is None or _is_too_deep(found):
        return None
    kind = found.get("type", event)
    return {**found, "type": kind} if isinstance(kind, str) and kind else None


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [child for each in level for child in _children(each)]
        if not level:
            return False
    return True


def _children(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(cast("dict[str, Any]", value).values())
    return cast("list[Any]", value) if isinstance(value, list) else ()
