"""Makes text and JSON storable in Postgres, and reads JSON from there. All other modules use these
functions.

Postgres accepts neither NUL bytes nor lone surrogates in text and jsonb, and JSON has no NaN. The
output of an LLM or a CSV file may contain all three. They are visibly replaced here.

The other way round, jsonb holds what Python can't decode: numbers of thousands of digits, thousands
of levels. Reading never raises, so that one row does not make a whole result unreadable.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

REPLACEMENT = "�"
MAX_DEPTH = 100
"""Levels of nesting in JSON from outside: far below the recursion limit of anything that walks it.
`evalqueue_json_problem` in SQL has the same limit."""
READABLE_DEPTH = 200
"""Levels of nesting in JSON from the database; pydantic writes no more than 255."""
_SHOWN_KEY = 100  # characters of a key in an error
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_MANY_DIGITS = re.compile(r"(?<!\d)\d{300}")  # in a shorter number nothing overflows
# As json writes escapes, in lower case: a NUL, or half of a pair of surrogates. Behind another
# backslash a half counts as alone.
_SUSPICIOUS = re.compile(
    r"\\u(?:0000|d[89ab]..(?!\\ud[c-f])|d[c-f](?<![^\\]\\ud[89ab]..\\ud[c-f]))"
)
_ENCODED_NUL = rb"\u0000"  # behind another backslash it is text: this only narrows down


def clean_text(text: str, *, limit: int | None = None) -> str:
    """Text that Postgres takes; NUL and lone surrogates become U+FFFD.

    Args:
        limit: at most this many characters; the last one becomes `…` when something was cut.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    try:  # almost all text, in a fraction of the time
        text.encode()
    except UnicodeEncodeError:
        pass
    else:
        if "\x00" not in text:
            return text
    return _UNSTORABLE.sub(REPLACEMENT, text)


def clean_json(value: Any) -> Any:
    """A JSON value that Postgres takes: text as in `clean_text`, NaN and infinities as null."""
    match value:
        case str():
            return clean_text(value)
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {clean_text(str(k)): clean_json(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  any JSON
        case list() | tuple():
            return [clean_json(item) for item in value]  # pyright: ignore[reportUnknownVariableType]  any JSON
        case _:
            return value


def dump_json(value: Any) -> str:
    """JSON text for a jsonb parameter. Walks the value only when something in it may be unstorable.

    Raises:
        TypeError: something in it is not JSON.
    """
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(clean_json(value), allow_nan=False)
    # A backslash in the text is written as two, so this only narrows down.
    return json.dumps(clean_json(value)) if _SUSPICIOUS.search(text) else text


def encode_json(value: Any) -> str | bytes:
    """The same as `dump_json` in a fraction of the time, of a value that is known to be JSON: some
    of what is none is written as well."""
    try:
        encoded = to_json(value, inf_nan_mode="null")
    except PydanticSerializationError:  # a lone surrogate
        return dump_json(value)
    return dump_json(value) if _ENCODED_NUL in encoded else encoded


class UnreadableJson(dict[str, Any]):
    """What is read in the place of JSON that can't be decoded: an empty object, and the reason."""

    def __init__(self, problem: str) -> None:
        super().__init__()
        self.problem = problem


def load_json(data: str | bytes) -> Any:
    """JSON of the database as a value that can be written again; else `UnreadableJson`."""
    try:
        text = data if isinstance(data, str) else data.decode()
        value = json.loads(text, parse_float=_finite if _MANY_DIGITS.search(text) else None)
    except ValueError as error:  # a number of too many digits
        return UnreadableJson(str(error))
    except RecursionError:
        return UnreadableJson("It is nested too deeply")
    is_shallow = text.count("[") + text.count("{") <= READABLE_DEPTH
    if is_shallow or not depth_exceeds(value, READABLE_DEPTH):
        return value
    return UnreadableJson(f"It is nested deeper than {READABLE_DEPTH} levels")


class RepeatedKey(ValueError):
    """An object of JSON has a key more than once: which value is meant is not known."""

    def __init__(self, key: str) -> None:
        shown = clean_text(key, limit=_SHOWN_KEY)
        super().__init__(f"The key {shown!r} is there twice: keep one")


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The `object_pairs_hook` that refuses repeated keys.

    Raises:
        RepeatedKey: with the first one.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        seen = set[str]()
        for key, _ in pairs:
            if key in seen:
                raise RepeatedKey(key)
            seen.add(key)
    return found


def depth_exceeds(value: object, limit: int) -> bool:
    """Whether JSON has more levels of nesting than the limit. Walks it level by level."""
    level: list[dict[str, Any] | list[Any]] = [[value]]
    for _ in range(limit + 1):
        level = [
            child
            for each in level
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def count_exceeds(value: object, limit: int) -> bool:
    """Whether JSON has more values than the limit; its depth is bounded."""
    count = 0
    containers: list[dict[str, Any] | list[Any]] = [[value]]
    while containers and count <= limit:
        each = containers.pop()
        count += len(each)
        if count <= limit:
            children: Iterable[Any] = each.values() if isinstance(each, dict) else each
            containers.extend(child for child in children if isinstance(child, dict | list))  # pyright: ignore[reportUnknownArgumentType]  any JSON
    return count > limit


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"A number of {len(text)} digits is too large")
    return number
