"""Files made of chunks: the part of `io.RawIOBase` that every such file would repeat."""

import io
from abc import abstractmethod


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
