"""The known formats, and how to find the format of a file."""

from collections.abc import Mapping
from typing import BinaryIO

from evalqueue.evaluators.formats import Format, FormatError, shown
from evalqueue.evaluators.formats.csv import CSV
from evalqueue.evaluators.formats.jsonl import JSONL

FORMATS: Mapping[str, Format] = {each.name: each for each in (CSV, JSONL)}
"""The formats there are, by name."""

_HEAD_BYTES = 4096


class UnknownFormat(FormatError):
    """There is no format of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no format {shown(name)}. Known: {', '.join(FORMATS)}.")


def format_of(file: BinaryIO, *, name: str = "", given: str | None = None) -> Format:
    """The format of a file that is at its beginning: the given format, else the one that the name
    implies, else the one that the content implies.

    Raises:
        UnknownFormat: there is no format with the given name.
    """
    if given is not None:
        if given not in FORMATS:
            raise UnknownFormat(given)
        return FORMATS[given]
    lowered = name.lower()
    for each in FORMATS.values():
        if lowered.endswith(each.suffixes):
            return each
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((each for each in FORMATS.values() if each.recognises(start)), CSV)
