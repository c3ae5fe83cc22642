"""Makes text and JSON storable in Postgres. All other modules use these functions.

Postgres accepts neither NUL bytes nor lone surrogates in text and jsonb, and JSON has no NaN. The
output of an LLM or a CSV file may contain all three. They are visibly replaced here.
"""

import json
import math
import re
from typing import Any

REPLACEMENT = "�"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SUSPICIOUS = re.compile(r"\\u0000|\\ud[89a-f]", re.IGNORECASE)


def clean_text(text: str, *, limit: int | None = None) -> str:
    """Text that Postgres takes; NUL and lone surrogates become U+FFFD.

    Args:
        limit: at most this many characters; the last one becomes `…` when something was cut.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
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
    # ensure_ascii writes surrogate *pairs* as escapes too, so this only narrows down.
    return json.dumps(clean_json(value)) if _SUSPICIOUS.search(text) else text
