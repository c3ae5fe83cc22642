"""Values of a JSON document in which anything may stand anywhere. A value that is not usable is
none, never an error."""

import json
import math
from collections.abc import Mapping
from typing import Any, cast

_MAX_TOKENS = 2**31 - 1  # what the column of the log holds
_DECODER = json.JSONDecoder(strict=False)
_ID_LIMIT = 500  # characters


def parsed(text: str) -> Any:
    """The value of a JSON text; None if it is none."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


def fields(value: Any) -> Mapping[str, Any]:
    """An object; empty if it is none."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """A list; empty if it is none."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def string(value: Any) -> str:
    """A text; empty if it is none."""
    return value if isinstance(value, str) else ""


def name(value: Any) -> str | None:
    """A name or an id. Some are numbers."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    return str(value)[:_ID_LIMIT]


def tokens(value: Any) -> int | None:
    """A number of tokens, however it is written."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return round(number) if math.isfinite(number) and 0 <= number <= _MAX_TOKENS else None
