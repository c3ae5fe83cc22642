"""Files of the data directory, and none besides.

A job names its dataset by an untrusted path. The path is resolved first, refused unless it stays
inside, and then opened component by component from the directory's own descriptor with O_NOFOLLOW:
a link that was created after the check is not followed. Links that stay inside are allowed (mounted
configuration consists of them). A file outside is never opened, and its refusal is the same whether
it exists or not.

Not covered: a hard link to, or a mount of, something from outside looks like any file inside, so
only trusted people may write to the directory. Windows has neither O_NOFOLLOW nor dir_fd.
"""

import io
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from evalqueue.evaluators.formats import FormatError, shown

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_BYTES = 512 * 1024**2
CHUNK_BYTES = 1024**2
MAX_PATH_CHARACTERS = 4_096

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not wait for a writer; O_NOCTTY: a terminal must not become ours.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class FileError(FormatError):
    """A data path can't be read. The message says what to do."""

    def __init__(self, data_path: str, reason: str) -> None:
        super().__init__(data_path, reason)
        self.data_path = data_path
        self.reason = reason

    def __str__(self) -> str:
        return f"data_path {shown(self.data_path)} {self.reason}"


def read_confined(data_dir: Path, data_path: str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a regular file inside the data directory. Blocks: call it in a thread."""
    with opened_confined(data_dir, data_path, max_bytes=max_bytes) as file:
        return file.read()


@contextmanager
def opened_confined(
    data_dir: Path, data_path: str, *, max_bytes: int = MAX_BYTES
) -> Generator[BinaryIO]:
    """A regular file inside the data directory, open for reading. Blocks: call it in a thread.

    Reading more than `max_bytes` from it raises `FileError`.
    """
    with _in_words(data_path):
        descriptor = _open_beneath(data_dir, _parts_inside(data_dir, data_path))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileError(data_path, "is not a regular file. Name a file, not a directory.")
        with io.BufferedReader(_Bounded(descriptor, data_path, max_bytes), CHUNK_BYTES) as file:
            yield file
    finally:
        os.close(descriptor)


@contextmanager
def _in_words(data_path: str) -> Generator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as exc:
        reason = "is not in the data directory. Put the file there and name it relative to it."
        raise FileError(data_path, reason) from exc
    except PermissionError as exc:
        reason = "may not be read by this process. Give it permission to read the file."
        raise FileError(data_path, reason) from exc
    except OSError as exc:
        raise FileError(data_path, f"can't be read: {exc.strerror}.") from exc


class _Bounded(io.FileIO):
    """A file with a maximum size, which is enforced even if the file grows while it is read."""

    def __init__(self, descriptor: int, data_path: str, max_bytes: int) -> None:
        super().__init__(descriptor, closefd=False)
        self._data_path = data_path
        self._max_bytes = max_bytes

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        with _in_words(self._data_path):
            length = super().readinto(buffer)
        if self.tell() > self._max_bytes:
            reason = f"is larger than {self._max_bytes:,} bytes. Split it into smaller files."
            raise FileError(self._data_path, reason)
        return length

    def readall(self) -> bytes:
        content = io.BytesIO()  # its getvalue() returns the buffer without copying it
        chunk = bytearray(CHUNK_BYTES)
        while length := self.readinto(chunk):
            content.write(memoryview(chunk)[:length])
        return content.getvalue()


def _parts_inside(data_dir: Path, data_path: str) -> tuple[str, ...]:
    """The components beneath the data directory, links resolved."""
    if not data_path or len(data_path) > MAX_PATH_CHARACTERS or not _encodable(data_path):
        raise FileError(
            data_path,
            f"is not a path. Write 1 to {MAX_PATH_CHARACTERS:,} characters, without NUL bytes.",
        )
    outside = FileError(
        data_path,
        "leads outside the data directory. Name a file inside it, relative to it, without '..'.",
    )
    if ".." in PurePosixPath(data_path).parts:
        raise outside
    resolved_dir = data_dir.resolve()
    if os.path.isabs(data_path) and not _is_inside(data_path, (data_dir.absolute(), resolved_dir)):
        raise outside  # before resolving, so that nothing outside is looked at
    try:
        parts = (data_dir / data_path).resolve().relative_to(resolved_dir).parts
    except RuntimeError as exc:
        raise FileError(data_path, "is a link in a circle. Name the file itself.") from exc
    except ValueError:
        raise outside from None
    if not parts:
        raise FileError(data_path, "is the data directory itself. Name a file inside it.")
    return parts


def _encodable(data_path: str) -> bool:
    try:
        return b"\0" not in os.fsencode(data_path)
    except UnicodeEncodeError:
        return False


def _is_inside(data_path: str, directories: tuple[Path, ...]) -> bool:
    return any(PurePosixPath(data_path).is_relative_to(directory) for directory in directories)


def _open_beneath(data_dir: Path, parts: tuple[str, ...]) -> int:
    """The descriptor of a file, reached by its components without following a link."""
    descriptor = os.open(data_dir, _DIRECTORY)
    for depth, part in enumerate(parts, start=1):
        flags = _FILE if depth == len(parts) else _DIRECTORY | os.O_NOFOLLOW
        above = descriptor
        try:
            descriptor = os.open(part, flags, dir_fd=above)
        finally:
            os.close(above)
    return descriptor
