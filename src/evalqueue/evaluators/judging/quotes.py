"""Whether a quote is in a text: how both are spelt does not matter, which words they have does.

Judges copy the words of a transcript and write everything around them anew: typographic quotes and
dashes become plain ones, line ends become spaces, and the markup of tables and emphasis is lost.
So both sides are folded to their words and numbers before they are compared.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypedDict

from evalqueue.codec import clean_text

_QUOTES = dict.fromkeys("\"'`´‘’‚‛“”„‟«»‹›′″‵‶", "'")
_DASHES = dict.fromkeys("-‐‑‒–—―−﹘﹣", "-")
_BREAKS = dict.fromkeys("|•‣⁃◦▪●·", " ")
# Zero-width characters, soft hyphens and variation selectors.
_INVISIBLE = [
    *(0xAD, 0x61C, 0x180E, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F)),
    *(*range(0x2060, 0x2070), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)),
]
_FOLDED: Mapping[int, str | None] = {
    **str.maketrans(_QUOTES | _DASHES | _BREAKS),
    **dict.fromkeys(_INVISIBLE),
}

_BREAK_TAG = re.compile(r"<br ?/?>")
_LINK = re.compile(r"!?\[([^\[\]\n]{0,500})\]\([^()\n]{0,2000}\)")
_ESCAPE = re.compile(r"\\(?=[^\w\s])")
_LINE_START = re.compile(r"^ ?(?:>|#{1,6}(?= )|\+(?= ))", re.MULTILINE)
_RULER = re.compile(r"(?<!\S):?-{2,}:?(?!\S)")
_BETWEEN_DIGITS = re.compile(r"(?<=[0-9]) ?-+ ?(?=[0-9])")
_OTHER_DASH = re.compile(r"(?<![0-9])-(?![0-9])|(?<=[0-9])-(?![0-9])|(?<=[^\W\d_])-(?=[0-9])")
_OUTER_QUOTE = re.compile(r"(?<!\w)'|'(?!\w)")
_EMPHASIS = re.compile(r"(?<![0-9])\*|\*(?![0-9])|~~|(?<![^\W_])_|_(?![^\W_])|(?<!\S)#{1,6}(?!\S)")
_SPACE = re.compile(r"[^\S\n]+")
_ELLIPSES = ("...", "…")
_ENDS = " .,;:'-*[]"

_REMEMBERED_TEXTS = 512
_REMEMBERED_CHARACTERS = 4096  # of a text: at most 16 MB of all


class CheckedQuote(TypedDict):
    """A quote of a judge, as it is stored."""

    turn: int
    quote: str
    in_transcript: bool
    """Whether it can be found in what the judge was shown."""


@dataclass(frozen=True)
class SearchedTexts:
    """Texts in which quotes are looked for."""

    texts: Sequence[str]

    @cached_property
    def _folded(self) -> tuple[str, ...]:
        return tuple(map(folded, self.texts))

    def has(self, quote: str) -> bool:
        """Whether one of the texts has the quote: as whole words and numbers, or, where there are
        none, as a whole line."""
        bare = quote.strip(" \n\"'“”‘’")
        wanted = folded(quote).strip(_ENDS)
        if not wanted:  # an answer may be "?" or "…"
            exact = clean_text(quote).strip()
            lines = (line for each in self.texts for line in clean_text(each).splitlines())
            return bool(exact) and any(exact == line.strip() for line in lines)
        return any(
            _occurs(
                wanted,
                text,
                is_cut_before=bare.startswith(_ELLIPSES),
                is_cut_after=bare.endswith(_ELLIPSES),
            )
            for text in self._folded
        )


def folded(text: str) -> str:
    """A text as its words and numbers: without case, markup, and kinds of quotes and dashes.

    Several questions about a conversation look for quotes in the same texts.
    """
    return _folded_once(text) if len(text) <= _REMEMBERED_CHARACTERS else _fold(text)


def _fold(text: str) -> str:
    # Cleaned as it was shown: what can't be sent to a vendor can't be quoted either.
    text = unicodedata.normalize("NFKC", clean_text(text)).casefold()
    text = _ESCAPE.sub("", _BREAK_TAG.sub(" ", _LINK.sub(r" \1 ", text)))
    text = _SPACE.sub(" ", text.translate(_FOLDED))
    text = _LINE_START.sub(" ", text)
    text = _EMPHASIS.sub("", _RULER.sub(" ", text))
    text = _BETWEEN_DIGITS.sub("-", text)
    text = _OTHER_DASH.sub(" ", text)
    return " ".join(_OUTER_QUOTE.sub("", text).split())


_folded_once = lru_cache(maxsize=_REMEMBERED_TEXTS)(_fold)


def _occurs(wanted: str, text: str, *, is_cut_before: bool, is_cut_after: bool) -> bool:
    start = text.find(wanted)
    while start >= 0:
        end = start + len(wanted)
        before, after = text[max(0, start - 2) : start], text[end : end + 2]
        if not (
            _goes_on(wanted[0], before[::-1], may_be_cut=is_cut_before)
            or _goes_on(wanted[-1], after, may_be_cut=is_cut_after)
        ):
            return True
        start = text.find(wanted, start + 1)
    return False


def _goes_on(edge: str, beyond: str, *, may_be_cut: bool) -> bool:
    """Whether a word or a number goes on beyond the edge of a quote: it is another one then.

    Only letters with case count as parts of one word: other scripts may have no spaces.
    """
    if not beyond:
        return False
    if edge.isdigit():
        return beyond[0].isdigit() or (beyond[0] in ".," and beyond[1:].isdigit())
    return not may_be_cut and _has_case(edge) and _has_case(beyond[0])


def _has_case(character: str) -> bool:
    return character.upper() != character
