"""The labels that a taxonomy in free text lists: the menu of a job that brings its own.

Labels are listed one per line (`- Billing: invoices and payments`), or in one line behind a heading
(`Agents: Billing, Network`; `Query types: "action" | "information"`). A heading that names query
types or questions begins theirs; all other labels are intents. Text that lists nothing has no
menu of its own: it describes the app's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ITEM = re.compile(r"^(?P<indent>\s*)(?:[-*•+]|\d{1,3}[.)])\s+(?P<text>\S.*)$")
_HEADING = re.compile(r"^\s*(?:#+\s*)?[*_]*(?P<name>[^:*_#]{1,60}?)[*_]*\s*:?[*_]*\s*$")
_INLINE = re.compile(
    r"^\s*(?:#+\s*)?[*_]*(?P<name>agents?|intents?|labels?|categories|query[ _-]?types?)[*_]*\s*:"
    r"[*_]*\s*(?P<list>\S.*)$",
    re.IGNORECASE,
)
_QUERY_TYPES = re.compile(r"query[ _-]?types?|kinds? of (?:request|question|quer)", re.IGNORECASE)
_NAME_END = re.compile(r"(?<!\s)\s*(?::|\s[-–—]\s|\()")
_QUOTES = "`*_\"'“”‘’ \t."
_LABEL_MAX = 60  # characters, and words:
_WORDS_MAX = 4
_FEWEST = 2
_MOST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Taxonomy:
    """What a text lists. Empty: it lists none of this."""

    intents: tuple[str, ...] = ()
    query_types: tuple[str, ...] = ()


def read(text: str) -> Taxonomy:
    """The labels that a text lists."""
    intents: list[str] = []
    query_types: list[str] = []
    into = intents
    indent = ""
    for line in text.splitlines():
        if inline := _INLINE.match(line):
            into = query_types if _QUERY_TYPES.search(inline["name"]) else intents
            into += _inline(inline["list"])
        elif item := _ITEM.match(line):
            if not into:
                indent = item["indent"]
            if item["indent"] == indent:  # deeper ones are examples and notes
                into += _label(item["text"])
        elif heading := _HEADING.match(line):
            into = query_types if _QUERY_TYPES.search(heading["name"]) else intents
    return Taxonomy(intents=_menu(intents), query_types=_menu(query_types))


def names_any(text: str, labels: Sequence[str]) -> bool:
    """Whether a text names one of these labels."""
    words = "|".join(map(re.escape, labels))
    return re.search(rf"(?<!\w)(?:{words})(?!\w)", text, re.IGNORECASE) is not None


def _inline(listed: str) -> list[str]:
    parts = re.split(r"[,;|]", listed.removesuffix("."))
    return [label for part in parts for label in _label(part)] if len(parts) > 1 else []


def _label(text: str) -> list[str]:
    """The label at the beginning of a line; none, where that is a sentence."""
    name = _NAME_END.split(text.strip(), maxsplit=1)[0].strip(_QUOTES)
    is_short = 0 < len(name) <= _LABEL_MAX and len(name.split()) <= _WORDS_MAX
    return [name] if is_short else []


def _menu(labels: Sequence[str]) -> tuple[str, ...]:
    distinct = tuple(dict.fromkeys(labels))[:_MOST]
    return distinct if len(distinct) >= _FEWEST else ()
