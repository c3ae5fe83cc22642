"""Compressed files, read as what is in them: gzip and Zstandard."""

import gzip
import importlib
import io
import sys
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from evalqueue.evaluators.formats import FormatError
from evalqueue.evaluators.formats.raw.chunks import ForwardFile

MAX_BYTES = 4 * 1024**3  # decompressed: a small file may hold any amount of zeros
SUFFIXES = (".gz", ".zst", ".zstd")
_CHUNK_BYTES = 256 * 1024
_zstd: Any = importlib.import_module(
    "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
)
_KINDS: tuple[tuple[bytes, str, Callable[[BinaryIO], BinaryIO]], ...] = (
    (b"\x1f\x8b", "gzip", lambda file: cast("BinaryIO", gzip.GzipFile(fileobj=file, mode="rb"))),
    (b"\x28\xb5\x2f\xfd", "Zstandard", _zstd.ZstdFile),
)
_MAGIC_BYTES = 4


def decompressed(file: BinaryIO, *, is_cut: bool = False) -> BinaryIO:
    """The file, or what is in it if it is compressed. The file has to be at its beginning.

    Args:
        is_cut: whether the file is only the beginning of a larger one.
    """
    magic = file.read(_MAGIC_BYTES)
    file.seek(0)
    for start, name, opener in _KINDS:
        if magic.startswith(start):
            found = _Decompressed(file, name, opener, is_cut=is_cut)
            return cast("BinaryIO", io.BufferedReader(found, _CHUNK_BYTES))
    return file


class _Decompressed(ForwardFile):
    """What is in a compressed file. It can be read from the beginning again."""

    def __init__(
        self, file: BinaryIO, name: str, opener: Callable[[BinaryIO], BinaryIO], *, is_cut: bool
    ) -> None:
        self._file = file
        self._name = name
        self._opener = opener
        self._is_cut = is_cut
        self._inside = opener(file)

    def begin(self) -> None:
        self._file.seek(0)
        self._inside = self._opener(self._file)
        self.position = 0

    def next_chunk(self, size: int) -> bytes:
        try:
            chunk = self._inside.read(size)
        except (EOFError, OSError, zlib.error, _zstd.ZstdError) as error:
            if self._is_cut:
                return b""
            reason = f"The {self._name} file is damaged or incomplete: {error}."
            raise FormatError(reason) from error
        self.position += len(chunk)
        if self.position > MAX_BYTES:
            raise FormatError(f"The {self._name} file holds more than {MAX_BYTES:,} bytes.")
        return chunk
