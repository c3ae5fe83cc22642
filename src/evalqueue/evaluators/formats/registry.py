"""The known formats, and how to find the format of a file."""

import zipfile
from collections.abc import Mapping
from typing import BinaryIO

from evalqueue.evaluators.formats import Format, FormatError, shown
from evalqueue.evaluators.formats.csv import CSV
from evalqueue.evaluators.formats.json_document import JSON_DOCUMENT
from evalqueue.evaluators.formats.jsonl import JSONL
from evalqueue.evaluators.formats.parquet import PARQUET
from evalqueue.evaluators.formats.raw.compression import SUFFIXES, decompressed
from evalqueue.evaluators.formats.raw.encodings import from_utf16
from evalqueue.evaluators.formats.xlsx import XLSX

FORMATS: Mapping[str, Format] = {
    each.name: each for each in (CSV, JSONL, JSON_DOCUMENT, XLSX, PARQUET)
}
"""The formats there are, by name."""

_HEAD_BYTES = 64 * 1024
_ZIP = b"PK\x03\x04"
_PARQUET = b"PAR1"


class UnknownFormat(FormatError):
    """There is no format of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no format {shown(name)}. Known: {', '.join(FORMATS)}.")


def format_of(file: BinaryIO, *, name: str = "", given: str | None = None) -> Format:
    """The format of a file that is at its beginning: the given format, else the one that the
    content implies beyond doubt, else the one of the name, else the one that it looks like.

    Raises:
        UnknownFormat: there is no format with the given name.
        FormatError: it is a kind of file that is known, and holds no conversations.
    """
    if given is not None:
        if given not in FORMATS:
            raise UnknownFormat(given)
        return FORMATS[given]
    inside = decompressed(file, is_cut=True)
    text = from_utf16(inside)
    head = text.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()
    file.seek(0)
    by_content = next((each for each in FORMATS.values() if each.recognises(head)), None)
    if head.startswith(_ZIP):
        return by_content or _refuse_archive(file)
    if head.startswith(_PARQUET):
        return by_content or CSV
    lowered = name.lower()
    for suffix in SUFFIXES:
        lowered = lowered.removesuffix(suffix)
    by_name = next((each for each in FORMATS.values() if lowered.endswith(each.suffixes)), None)
    return by_name or by_content or CSV


def _refuse_archive(file: BinaryIO) -> Format:
    """Say what to do with an archive that is no workbook.

    Raises:
        FormatError: always, unless the archive is damaged: then its reader says so.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return XLSX
    finally:
        file.seek(0)
    if any(each.startswith("samples/") or each == "header.json" for each in names):
        raise FormatError(
            "It is an Inspect log in the .eval format. Convert it: "
            "inspect log convert --to json --output-dir logs FILE"
        )
    shown_names = ", ".join(map(shown, names[:3]))
    raise FormatError(f"It is a zip archive ({shown_names}, …). Unpack it, and add its files.")
