"""Values beside the messages of a record: ids, times, errors."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast

from evalqueue.evaluators.formats import DateOrder, shown
from evalqueue.evaluators.formats.shapes import Object, ShapeError
from evalqueue.evaluators.formats.values import columns, latencies
from evalqueue.evaluators.formats.values.cells import optional
from evalqueue.evaluators.formats.values.moments import (
    YEARS,
    AmbiguousDate,
    moment_of,
    unix_time,
)

THREAD = ("thread_id", "conversation_id", "conversationId", "threadId", "conversation_hash",
          "chat_id", "dialog_id", "dialogue_id")  # fmt: skip
ID = ("id", "uuid", "_id", "question_id", "trace_id", "request_id")
USER = ("user_id", "user", "userId", "hashed_ip", "customer_id", "end_user", "username")
SESSION = ("session_id", "sessionId", "session")
TIME = ("timestamp", "created_at", "createdAt", "created", "create_time", "time", "tstamp",
        "start_time", "startTime", "date")  # fmt: skip
INTENT = ("intent", "intent_detected", "routed_intent")
QUERY_TYPE = ("query_type", "intent_query_type", "routed_query_type")
ERROR = ("error", "error_message", "exception")
CONTEXT = (*columns.CONTEXT, "retrievedContext", "retrievedContexts", "retrievedDocuments",
           "sourceDocuments")  # fmt: skip
SYSTEM = (*columns.SYSTEM_PROMPT, "systemPrompt", "systemMessage", "systemInstruction",
          "systemInstructions", "developerMessage")  # fmt: skip
HISTORY = (*columns.HISTORY, "chatHistory", "conversationHistory", "messageHistory")
EXPECTED = (*columns.EXPECTED_ANSWER, "expectedOutput", "referenceAnswer", "groundTruth")
_LATENCIES = tuple(
    ((*names, *latencies.in_camel_case(names)), latencies.UNIT_SECONDS[column])
    for column, names in (
        ("latency_ms", latencies.IN_MILLISECONDS),
        ("latency_seconds", latencies.IN_SECONDS),
    )
)
_ERROR_TEXTS = ("message", "detail", "error", "reason", "type", "code", "status")


def list_of(value: object) -> list[Any] | None:
    """The list. None: it is none."""
    return cast("list[Any]", value) if isinstance(value, list) else None


def object_of(value: object) -> Object | None:
    """The object. None: it is none."""
    return cast("Object", value) if isinstance(value, dict) else None


def inside(value: object, *keys: str) -> Any:
    """The value at a path of keys. None: there is none."""
    for key in keys:
        found = object_of(value)
        if found is None:
            return None
        value = found.get(key)
    return value


def first(value: Object, names: tuple[str, ...]) -> tuple[str, Any] | None:
    """The value of the first of some keys that has one, in the object or in its metadata."""
    for holder in (value, object_of(value.get("metadata")) or {}):
        for name in names:
            if (found := holder.get(name)) is not None:
                return name, found
    return None


def every(value: Object, names: tuple[str, ...]) -> Iterator[Any]:
    """The values of all of some keys, in the object, its metadata and its config."""
    for holder in (value, object_of(value.get("metadata")), object_of(value.get("config"))):
        for name in names if holder else ():
            if (found := (holder or {}).get(name)) is not None:
                yield found


def text_of(value: Object, names: tuple[str, ...]) -> str | None:
    """A text or a number as text. None: there is none, or it means that there is none."""
    found = first(value, names)
    if found is None or isinstance(found[1], dict | list | bool):
        return None
    return optional(str(found[1]))


def latency_of(value: Object) -> float | None:
    """How long an answer took, in seconds. None: it is not there, or no number."""
    for names, unit in _LATENCIES:
        if (found := first(value, names)) is not None:
            return latencies.seconds_of(found[1], unit)
    return None


def error_of(value: Object) -> str | None:
    """What went wrong. Errors are texts, objects with a message, or a flag."""
    found = first(value, ERROR)
    return None if found is None else error_text(found[1])


def error_text(given: object) -> str | None:
    """An error as text. None: there was none."""
    if given is None or given is False or given in ({}, [], 0):
        return None
    if given is True:
        return "error"
    if isinstance(given, str):
        return optional(given)
    if (known := object_of(given)) is not None:
        texts = [str(known[key]) for key in _ERROR_TEXTS if isinstance(known.get(key), str | int)]
        nested = object_of(known.get("error"))
        return (error_text(nested) if nested else None) or ": ".join(texts[:2]) or dumped(given)
    return dumped(given)


def time_of(value: Object, where: str, order: DateOrder | None) -> datetime | None:
    """The time of an object. None: it has none.

    Raises:
        ShapeError: it is no time.
    """
    found = first(value, TIME)
    if found is None or (isinstance(found[1], str) and optional(found[1]) is None):
        return None
    name, given = found
    try:
        moment = moment_from(given, order)
    except AmbiguousDate:
        reason = (
            f"{shown(str(given))} may have the day first or the month first. Say which: "
            "date_order day-first or month-first (--date-order)."
        )
        raise ShapeError(f"{where}{name}", reason) from None
    if moment is None:
        reason = (
            f"{shown(str(given))} is not a time between {YEARS.start} and {YEARS.stop - 1}. "
            "Write ISO 8601 (2025-01-15T10:30:00Z) or a Unix time."
        )
        raise ShapeError(f"{where}{name}", reason)
    return moment


def moment_from(given: object, order: DateOrder | None = None) -> datetime | None:
    """The moment of a JSON value. None: it is no time.

    Raises:
        AmbiguousDate: the order of the day and the month is not known.
    """
    if (known := object_of(given)) is not None:  # MongoDB's {"$date": …}
        given = known.get("$date", known.get("$numberLong"))
    if isinstance(given, str):
        return moment_of(given, order)
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    return unix_time(given)


def dumped(value: object) -> str:
    """A JSON value as text, for tools' arguments and results."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def objects(value: object) -> Iterator[tuple[int, Object]]:
    """The objects of a list, with their places."""
    for place, each in enumerate(list_of(value) or []):
        if (found := object_of(each)) is not None:
            yield place, found
