"""Files made of chunks: the part of `io.RawIOBase` that every such file would repeat."""

import io
import shutil
import tempfile
from abc import abstractmethod
from typing import BinaryIO, cast

_SKIPPED = 256 * 1024  # bytes at once


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


class ForwardFile(ChunkFile):
    """A file whose content is computed from another one. To go back, it begins anew."""

    position = 0
    """Bytes that `next_chunk` has returned since the beginning."""

    @abstractmethod
    def begin(self) -> None:
        """Go to the beginning, where `position` is 0."""

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_CUR:
            offset += self.position
        elif whence != io.SEEK_SET:
            raise io.UnsupportedOperation("its size is not known")
        if offset < self.position:
            self.begin()
        while self.position < offset and self.next_chunk(min(_SKIPPED, offset - self.position)):
            pass
        return self.position


def copied(file: BinaryIO) -> BinaryIO:
    """A copy on disk, for readers that jump about in a file. It disappears when it is closed."""
    copy = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115  the caller closes it
    shutil.copyfileobj(file, copy, 1024**2)
    copy.seek(0)
    return copy
