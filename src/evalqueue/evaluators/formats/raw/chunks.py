"""Files made of chunks: the part of `io.RawIOBase` that every such file would repeat."""

import io
import shutil
import tempfile
from abc import abstractmethod
from typing import BinaryIO, cast


class ChunkFile(io.RawIOBase):
    """A file for reading whose content comes from `next_chunk`."""

    @abstractmethod
    def next_chunk(self, size: int) -> bytes:
        """At most `size` bytes; empty at the end."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]  what BufferedReader passes
        chunk = self.next_chunk(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def copied(file: BinaryIO) -> BinaryIO:
    """A copy on disk, for readers that jump about in a file. It disappears when it is closed."""
    copy = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115  the caller closes it
    shutil.copyfileobj(file, copy, 1024**2)
    copy.seek(0)
    return copy
