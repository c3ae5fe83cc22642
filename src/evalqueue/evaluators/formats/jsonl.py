"""Conversations as OpenAI's chat messages, one to a line: `{"messages": [{"role", "content"}, …]}`.

A turn is a user's message and the assistant's answer. Consecutive messages of one side are joined
to one text. Messages of the system and of tools are ignored. Ids, times, intents and other fields
are beside the messages, or in a `metadata` object.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO, cast

from evalqueue import codec
from evalqueue.evaluators.formats import ID_CHARACTERS, Faults, Head, Message, shown
from evalqueue.evaluators.formats.cells import YEARS, moment_of, optional

LINE_LIMIT = 64 * 1024**2  # bytes
UNKNOWN_USER = "unknown"
UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)
_MILLISECONDS_FROM = (
    10**11
)  # a larger Unix time is in milliseconds; in seconds it would be after the year 5138

_THREAD = ("thread_id", "conversation_id", "id")
_USER = ("user_id", "user")
_SESSION = ("session_id",)
_TIME = ("timestamp", "created_at", "created", "time")
_INTENT = ("intent", "intent_detected", "routed_intent")
_QUERY_TYPE = ("query_type", "intent_query_type", "routed_query_type")
_ERROR = ("error", "error_message")
_RESPONSE = ("response_id", "id")
_SPEAKERS = ("user", "assistant")
_OTHERS = ("system", "developer", "tool", "function")

Object = Mapping[str, Any]  # JSON


class _Jsonl:
    """The format."""

    name = "jsonl"
    suffixes = (".jsonl", ".ndjson")

    def recognises(self, start: bytes) -> bool:
        return start.startswith(b"{")

    def messages(
        self,
        file: BinaryIO,
        faults: Faults,
        *,
        mapping: Mapping[str, str] | None = None,
        is_cut: bool = False,
    ) -> Iterator[Message]:
        if mapping:
            faults.add(None, None, "JSON lines have no columns: there is nothing to map.")
            return
        is_empty = True
        for number, line in _lines(file, faults):
            is_empty = False
            value = _value(number, line, faults)
            if value is not None:
                found = _Conversation(number, value, faults).messages()
                if not faults:  # after a fault nothing will be stored
                    yield from found
        if is_empty and not faults and not is_cut:
            faults.add(None, None, "it has no lines.")

    def effective(self, file: BinaryIO, mapping: Mapping[str, str]) -> Mapping[str, str]:
        return mapping

    def head(self, file: BinaryIO, mapping: Mapping[str, str] | None = None) -> Head:
        return Head(mapping=dict(mapping or {}))


JSONL = _Jsonl()


# Lines.


def _lines(file: BinaryIO, faults: Faults) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with the numbers that an editor shows."""
    number = 0
    while line := file.readline(LINE_LIMIT + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > LINE_LIMIT:
            faults.add(number, None, f"it is longer than {LINE_LIMIT:,} bytes.")
            while line and not line.endswith(b"\n"):
                line = file.readline(LINE_LIMIT)
        elif line.strip():
            yield number, line


def _value(number: int, line: bytes, faults: Faults) -> Object | None:
    try:
        value: object = json.loads(line)
        if b"\\u" in line:
            # Only an escape can bring NUL or half a surrogate pair this far, or NUL itself.
            value = codec.clean_json(value)
    except UnicodeDecodeError as error:
        faults.add(number, None, f"it is not UTF-8: {error.reason} at byte {error.start}.")
    except ValueError as error:
        faults.add(number, None, f"it is not JSON: {error}.")
    except RecursionError:
        faults.add(number, None, "it is nested too deeply.")
    else:
        if isinstance(value, dict):
            return cast("Object", value)
        faults.add(number, None, 'it is no object. Write {"messages": […]}.')
    return None


# Conversations.


@dataclass(slots=True, kw_only=True)
class _Turn:
    """A turn that is still incomplete."""

    asked: list[str] = field(default_factory=list[str])
    answered: list[str] = field(default_factory=list[str])
    has_image: bool = False
    at: datetime | None = None
    known: dict[str, str] = field(default_factory=dict[str, str])
    """The fields of a turn besides its text. The assistant's take precedence over the user's."""


class _Conversation:
    """One line."""

    def __init__(self, number: int, value: Object, faults: Faults) -> None:
        self._number = number
        self._value = value
        self._faults = faults

    def messages(self) -> list[Message]:
        thread_id = _text(self._value, _THREAD) or f"line-{self._number}"
        user_id = _text(self._value, _USER) or UNKNOWN_USER
        for column, each in (("thread_id", thread_id), ("user_id", user_id)):
            if len(each) > ID_CHARACTERS:
                reason = f"{shown(each)} is longer than {ID_CHARACTERS} characters."
                self._fault(column, reason)
        turns = self._turns()
        # A missing time becomes the time before it, or else the first one. This preserves the order
        # of the file, and the conversation's duration stays plausible.
        first = self._time(self._value, "")
        at = first or next((turn.at for turn in turns if turn.at), UNKNOWN_TIME)
        session_id = _text(self._value, _SESSION)
        found: list[Message] = []
        for turn in turns:
            at = turn.at or at
            found.append(
                Message(
                    self._number,
                    thread_id,
                    user_id,
                    at,
                    "\n\n".join(turn.asked),
                    "\n\n".join(turn.answered),
                    turn.known.get("intent"),
                    turn.known.get("query_type"),
                    turn.has_image,
                    turn.known.get("error"),
                    turn.known.get("session_id", session_id),
                    turn.known.get("response_id"),
                )
            )
        return found

    def _turns(self) -> list[_Turn]:
        given: object = self._value.get("messages")
        if not isinstance(given, list):
            self._fault("messages", "it is missing, or no list of messages.")
            return []
        turns: list[_Turn] = []
        for place, message in enumerate(cast("list[object]", given)):
            column = f"messages[{place}]"
            if not isinstance(message, dict):
                self._fault(column, "it is no object.")
                continue
            self._add(turns, column, cast("Object", message))
        if not turns:
            self._fault("messages", "it has neither a user's message nor an assistant's.")
        return turns

    def _add(self, turns: list[_Turn], column: str, message: Object) -> None:
        role: object = message.get("role")
        if role in _OTHERS:
            return
        if role not in _SPEAKERS:
            roles = ", ".join((*_SPEAKERS, *_OTHERS))
            self._fault(f"{column}.role", f"{shown(str(role))} is none of {roles}.")
            return
        text, has_image = self._content(column, message)
        if role == "assistant" and not text:
            return  # a tool call without text
        if not turns or (role == "user" and turns[-1].answered):
            turns.append(_Turn())
        turn = turns[-1]
        (turn.asked if role == "user" else turn.answered).append(text)
        turn.has_image |= has_image
        turn.at = turn.at or self._time(message, f"{column}.")
        known = _known(message, is_answer=role == "assistant")
        turn.known = turn.known | known if role == "assistant" else known | turn.known

    def _content(self, column: str, message: Object) -> tuple[str, bool]:
        content: object = message.get("content")
        if isinstance(content, str):
            return content, False
        if content is None:
            refusal: object = message.get("refusal")
            return (refusal if isinstance(refusal, str) else ""), False
        if not isinstance(content, list):
            self._fault(f"{column}.content", "it is neither text nor a list of parts.")
            return "", False
        parts = [
            cast("Object", part) for part in cast("list[object]", content) if isinstance(part, dict)
        ]
        texts = [text for part in parts if isinstance(text := _part_text(part), str)]
        return "\n".join(texts), any("image" in str(part.get("type")) for part in parts)

    def _time(self, value: Object, where: str) -> datetime | None:
        found = _first(value, _TIME)
        if found is None:
            return None
        name, given = found
        moment = _moment(given)
        if moment is None:
            reason = (
                f"{shown(str(given))} is not a time between {YEARS.start} and {YEARS.stop - 1}. "
                "Write ISO 8601 (2025-01-15T10:30:00Z) or a Unix time."
            )
            self._fault(f"{where}{name}", reason)
        return moment

    def _fault(self, column: str, reason: str) -> None:
        self._faults.add(self._number, column, reason)


def _part_text(part: Object) -> object:
    return part.get("text", part.get("refusal"))


def _known(message: Object, *, is_answer: bool) -> dict[str, str]:
    """The fields of a message besides its text."""
    names: dict[str, tuple[str, ...]] = {
        "intent": _INTENT, "query_type": _QUERY_TYPE, "error": _ERROR, "session_id": _SESSION,
    }  # fmt: skip
    if is_answer:
        names["response_id"] = _RESPONSE
    found = {name: _text(message, keys) for name, keys in names.items()}
    return {name: text for name, text in found.items() if text is not None}


def _first(value: Object, names: tuple[str, ...]) -> tuple[str, object] | None:
    """The value of the first of some keys that has one, beside the messages or in the metadata."""
    given: object = value.get("metadata")
    metadata = cast("Object", given) if isinstance(given, dict) else dict[str, Any]()
    for holder in (value, metadata):
        for name in names:
            if (found := holder.get(name)) is not None:
                return name, found
    return None


def _text(value: Object, names: tuple[str, ...]) -> str | None:
    found = _first(value, names)
    if found is None or isinstance(found[1], dict | list | bool):
        return None
    return optional(str(found[1]))


def _moment(given: object) -> datetime | None:
    if isinstance(given, str):
        return moment_of(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    try:
        moment = datetime.fromtimestamp(given / (1000 if given > _MILLISECONDS_FROM else 1), UTC)
    except (ValueError, OverflowError, OSError):  # no such year
        return None
    return moment if moment.year in YEARS else None
