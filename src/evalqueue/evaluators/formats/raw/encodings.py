"""Text in other encodings than UTF-8, read as UTF-8.

UTF-16 and UTF-32 are known by their byte order mark, or by NUL at every second byte. Text that is
not UTF-8 is in an older encoding, which charset-normalizer detects.
"""

import codecs
import io
import re
from typing import BinaryIO, cast

import charset_normalizer

from evalqueue.evaluators.formats import Faults
from evalqueue.evaluators.formats.raw.chunks import ForwardFile

_CHUNK_BYTES = 64 * 1024
_HEAD_BYTES = 200
_SAMPLE_BYTES = 64 * 1024
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN = "cp1252"
_CANDIDATES = [
    _WESTERN, "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp932",
    "gb18030", "big5", "cp949",
]  # fmt: skip
"""What spreadsheets and databases write; others would only be confused with them."""
_UTF8_CHARACTER = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_HIGH_BYTE = re.compile(rb"[\x80-\xff]")
_NAMES = {"cp932": "Shift JIS", "cp949": "EUC-KR", "gb18030": "GB 18030", "big5": "Big5"}


def from_utf16(file: BinaryIO) -> BinaryIO:
    """The file, or its text in UTF-8 if it is in UTF-16 or UTF-32."""
    encoding = _by_beginning(file)
    return file if encoding is None else _transcoded(file, encoding)


def from_any(file: BinaryIO, faults: Faults) -> BinaryIO:
    """The file, or its text in UTF-8 if it is in another encoding.

    Text that mixes UTF-8 with other bytes stays as it is: its reader reports the first of them.
    """
    encoding = _by_beginning(file)
    if encoding is not None:
        return _transcoded(file, encoding)
    encoding = _detected(file)
    file.seek(0)
    if encoding is None:
        return file
    message = (
        f"The text is not UTF-8 and was read as {_NAMES.get(encoding, encoding)}. If letters look "
        "wrong, save the file as UTF-8."
    )
    faults.note("encoding", None, message)
    return _transcoded(file, encoding)


def first_bad_byte(file: BinaryIO) -> tuple[int, bytes] | None:
    """The offset of the first byte that is not UTF-8, and that byte. None: it is all UTF-8.

    A character that is cut off at the end counts as UTF-8.
    """
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    offset = 0
    while chunk := file.read(_CHUNK_BYTES):
        held, _ = decoder.getstate()  # of the chunk before: the beginning of a character
        if held or not chunk.isascii():
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                at = offset - len(held) + error.start
                return at, error.object[error.start : error.start + 1]
        offset += len(chunk)
    return None


def _by_beginning(file: BinaryIO) -> str | None:
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    # Without a mark, every second byte of UTF-16 is NUL where the text is English.
    if head and head.count(0) * 3 > len(head):
        even, odd = head[0::2].count(0), head[1::2].count(0)
        if max(even, odd) > 10 * min(even, odd):
            return "utf-16-be" if even > odd else "utf-16-le"
    return None


def _detected(file: BinaryIO) -> str | None:
    """The older encoding of a text. None: it is UTF-8, or nothing that can be named."""
    bad = first_bad_byte(file)
    if bad is None:
        return None
    offset, _ = bad
    file.seek(0)
    if _has_high_bytes(file, offset):
        return None  # the text before is in UTF-8
    file.seek(max(0, offset - _SAMPLE_BYTES // 8))
    sample = file.read(_SAMPLE_BYTES)
    in_utf8 = sum(map(len, _UTF8_CHARACTER.findall(sample)))
    if 2 * in_utf8 > len(_HIGH_BYTE.findall(sample)):
        return None
    best = charset_normalizer.from_bytes(sample, cp_isolation=_CANDIDATES).best()
    if best is None:
        return None
    return _WESTERN if _WESTERN in best.could_be_from_charset else best.encoding


def _has_high_bytes(file: BinaryIO, before: int) -> bool:
    while before > 0 and (chunk := file.read(min(_CHUNK_BYTES, before))):
        if not chunk.isascii():
            return not chunk.startswith(codecs.BOM_UTF8) or not chunk[3:].isascii()
        before -= len(chunk)
    return False


def _transcoded(file: BinaryIO, encoding: str) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(_Transcoded(file, encoding), _CHUNK_BYTES))


class _Transcoded(ForwardFile):
    """The text of a file in UTF-8. It can be read from the beginning again."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file = file
        self._encoding = encoding
        self.begin()

    def begin(self) -> None:
        self._file.seek(0)
        self._decoder = codecs.getincrementaldecoder(self._encoding)("replace")
        self._rest = b""
        self.position = 0

    def next_chunk(self, size: int) -> bytes:
        while not self._rest:
            chunk = self._file.read(_CHUNK_BYTES)
            text = self._decoder.decode(chunk, final=not chunk)
            self._rest = text.encode("utf-8", "surrogatepass")
            if not chunk:
                break
        given, self._rest = self._rest[:size], self._rest[size:]
        self.position += len(given)
        return given
