"""A running embedded Postgres, shared by the processes of one user. It stops with the last one."""

import atexit
import errno
import fcntl
import logging
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from evalqueue.errors import DatabaseUnavailable
from evalqueue.postgres.embedded import account, binaries, commands
from evalqueue.postgres.embedded.cluster import PostgresCluster

LOCK_SECONDS = 180.0  # another process may be creating the database, or recovering it
LOCK_POLL_SECONDS = 0.05
LOCK_NOTICE_SECONDS = 2.0

logger = logging.getLogger(__name__)


class Embedded:
    """A running private Postgres.

    Every process that uses it has a shared lock on the file `users` in its directory. The kernel
    releases the lock of a process that is killed.
    """

    def __init__(self, directory: Path) -> None:
        """Start it, or join the one that already runs on this directory.

        Removes `PG*` from the environment of this process: it is meant for other servers.

        Raises:
            DatabaseUnavailable: it could not be started.
        """
        commands.clear_libpq_environment()
        server_account = account.for_this_process()
        home = create_home(directory)
        self._home = home
        with locked(home):
            self._cluster = PostgresCluster(
                home=home,
                binaries=binaries.bundled(server_account, home),
                account=server_account,
            )
            self._users = open_users(home)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            try:
                self._cluster.create()
                self._url = self._cluster.start()
            except BaseException:
                self._users.close()
                raise
        self._pid = os.getpid()
        atexit.register(self.stop)

    @property
    def url(self) -> str:
        """A `postgresql://…` address for psql and every driver."""
        return self._url

    @property
    def programs(self) -> Path:
        """The directory of `psql`, `pg_dump` and the others, of the same version."""
        return self._cluster.binaries.directory

    def ensure_running(self) -> bool:
        """Start it again if it has ended, at the same address.

        Returns:
            whether it had ended.

        Raises:
            DatabaseUnavailable: it could not be started.
        """
        if self._cluster.is_running():
            return False
        with locked(self._home):
            if self._cluster.is_running():  # another process has started it
                return False
            self._cluster.start()
        return True

    def stop(self) -> None:
        """Release it; the last process to do so stops it."""
        atexit.unregister(self.stop)
        if self._users.closed or os.getpid() != self._pid:  # a forked child does not use it
            return
        if not self._home.exists():
            self._users.close()
            return
        with locked(self._home):
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # another process uses it
                return
            else:
                self._cluster.stop()
            finally:
                self._users.close()


def create_home(directory: Path) -> Path:
    """Create the directory of a server, which the server's account must be able to enter.

    Nothing that exists gets other permissions. Returns its path without links.

    Raises:
        DatabaseUnavailable: it can't be created or used.
    """
    home = directory.expanduser().resolve()
    server_account = account.for_this_process()
    try:
        for part in [*reversed(home.parents), home]:
            if not part.exists():
                part.mkdir(mode=0o700, exist_ok=True)
                if server_account.user:
                    part.chmod(0o711)
        if not home.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise DatabaseUnavailable(
            f"The directory {home} can't be created: {error.strerror}. Set EVALQUEUE_HOME to a "
            "directory that this user may write, or DATABASE_URL to use another Postgres."
        ) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise DatabaseUnavailable(
            f"This user may not write to {home}. Set EVALQUEUE_HOME to another directory, "
            "or DATABASE_URL to use another Postgres."
        )
    if not server_account.may_enter(home):
        raise DatabaseUnavailable(
            f"Postgres does not run as root. It runs as the account {server_account.user!r}, "
            f"which may not enter {home}. Set EVALQUEUE_HOME to a directory that every user may "
            "enter, such as /var/lib/evalqueue, or run this command as another user."
        )
    return home


def open_users(home: Path) -> IO[bytes]:
    """The file on which every process that uses the server has a lock."""
    return _open(home / "users")


def _open(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "r+b")


@contextmanager
def locked(home: Path) -> Generator[None]:
    """The lock under which the server is created, started and stopped."""
    started = time.monotonic()
    mentioned = False
    try:
        file = _open(home / "lock")
    except PermissionError:
        raise DatabaseUnavailable(
            f"{home} belongs to another user. Set EVALQUEUE_HOME to a directory of your own, "
            "or DATABASE_URL to use another Postgres."
        ) from None
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waited = time.monotonic() - started
                if waited > LOCK_SECONDS:
                    raise DatabaseUnavailable(
                        f"Another process has held {home / 'lock'} for {LOCK_SECONDS:.0f} s: "
                        "it may be creating or recovering the database. Wait for it, or end it."
                    ) from None
                if waited > LOCK_NOTICE_SECONDS and not mentioned:
                    mentioned = True
                    logger.warning("Another process is starting or stopping Postgres: waiting")
                time.sleep(LOCK_POLL_SECONDS)
        yield
