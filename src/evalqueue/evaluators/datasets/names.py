"""A list of names, which are found in texts as whole words.

Names are compared without case, and with any space or punctuation between their words. Scripts that
write no spaces between words have no whole words: there a name is found anywhere.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

NAMES_MAX = 100_000
_NAME_MAX = 200  # characters
_SHORTEST = 2  # characters
_WORD = re.compile(r"(?:[^\W_]|[\u0300-\u036f])+")
_NEXT_WORD = re.compile(r"[\W_]{1,3}((?:[^\W_]|[\u0300-\u036f])+)")
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)
"""Thai, Lao, Burmese, Khmer, Japanese, Chinese; Korean, whose particles follow without a space."""
_END = ""
"""No word: marks the end of a name in the tree of words."""


class NameList:
    """Finds the names of a list in texts."""

    def __init__(self, names: Iterable[str]) -> None:
        self._words: dict[str, Any] = {}
        """The words that names begin with; for each those that may follow it, and so on."""
        unspaced: set[str] = set()
        for name in names:
            if _UNSPACED.search(name):
                unspaced.add(re.escape(unicodedata.normalize("NFC", name)))
                continue
            node = self._words
            for word in _WORD.findall(name):
                node = node.setdefault(_key(word), {})
            node[_END] = {}
        longest_first = sorted(unspaced, key=len, reverse=True)
        self._unspaced = re.compile("|".join(longest_first)) if unspaced else None

    def replaced(self, text: str, put: str) -> tuple[str, int]:
        """The text with `put` for each name, and how many there were."""
        parts: list[str] = []
        position = 0
        for start, end in self._spans(text):
            parts += text[position:start], put
            position = end
        text = "".join((*parts, text[position:]))
        count = len(parts) // 2
        if self._unspaced is None:
            return text, count
        text, more = self._unspaced.subn(lambda _: put, text)
        return text, count + more

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where names are, the longest that begins at a word."""
        position = 0
        while (word := _WORD.search(text, position)) is not None:
            position = word.end()
            node, end = self._words.get(_key(word[0])), None
            following: re.Match[str] | None = None
            at = position
            while node is not None:
                end = at if _END in node else end
                following = _NEXT_WORD.match(text, at) if len(node) > (_END in node) else None
                node = None if following is None else node.get(_key(following[1]))
                at = at if following is None else following.end()
            if end is not None:
                yield word.start(), end
                position = end


def read_names(text: str) -> tuple[str, ...]:
    """The names in a text, one on each line, in order.

    Raises:
        ValueError: one is no name, or there are too many.
    """
    return checked_names(text.removeprefix("\ufeff").splitlines())


def checked_names(given: Iterable[str]) -> tuple[str, ...]:
    """Names, without blank ones and duplicates, in order.

    Raises:
        ValueError: one is no name, or there are too many.
    """
    names = sorted({" ".join(each.split()) for each in given} - {""})
    if len(names) > NAMES_MAX:
        raise ValueError(f"There are {len(names):,} names. A list may have {NAMES_MAX:,}.")
    for name in names:
        if len(name) > _NAME_MAX:
            raise ValueError(f"A name has {len(name):,} characters. It may have {_NAME_MAX}.")
        if len("".join(_WORD.findall(name))) < _SHORTEST and not _UNSPACED.search(name):
            raise ValueError(
                f"{name!r} is too short for a name: every such letter would be masked."
            )
    return tuple(names)


def _key(word: str) -> str:
    """A word as it is compared."""
    return word.lower() if word.isascii() else unicodedata.normalize("NFKC", word).casefold()
