"""The directory of the server's socket: only its owner may enter it, and its path is short."""

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from evalqueue.errors import DatabaseUnavailable
from evalqueue.postgres.embedded.account import Account

SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT = 103  # bytes: macOS allows so many, Linux 107


def socket_directory(data: Path, account: Account) -> Path:
    """The data directory, or a private one in the system's temporary directory.

    The latter is needed if the data directory's path is too long for a socket, or contains a comma,
    which separates hosts in the address of a database.

    Raises:
        DatabaseUnavailable: another user has a file or directory of that name.
    """
    directory = _place(data, account)
    if directory == data:
        return data
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        found = directory.lstat()
        owners = {os.geteuid(), account.uid}
        private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
        if not private or found.st_uid not in owners:
            raise DatabaseUnavailable(
                f"The embedded Postgres needs {directory} for its socket, which exists and is not "
                "private to this user. Remove it, or set EVALQUEUE_HOME to a shorter path."
            ) from None
    account.give(directory)
    return directory


def remove_socket_directory(data: Path, account: Account) -> None:
    """Remove the directory of a server that has stopped, if it is not the data directory."""
    directory = _place(data, account)
    if directory != data:
        with contextlib.suppress(OSError):  # not there, or used by a server that starts
            directory.rmdir()


def _place(data: Path, account: Account) -> Path:
    if _fits(data):
        return data
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    name = f"evalqueue-{account.uid}-{digest}"
    temporary = Path(tempfile.gettempdir())
    if not (account.may_enter(temporary) and _fits(temporary / name)):
        temporary = Path("/tmp")  # noqa: S108  the directory in it is private
    return temporary / name


def _fits(directory: Path) -> bool:
    longest = len(os.fsencode(directory / SOCKET_NAME))
    return longest <= SOCKET_PATH_LIMIT and "," not in str(directory)
