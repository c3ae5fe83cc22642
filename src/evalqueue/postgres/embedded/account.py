"""The account that the embedded Postgres runs as.

That is the user's own, except for root: Postgres refuses root's privileges, so that it runs as the
system account `evalqueue` instead.
"""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from evalqueue.errors import DatabaseUnavailable

SYSTEM_ACCOUNT = "evalqueue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account for Postgres. Without `user`, processes keep the account of this one."""

    user: str | None = None
    uid: int
    gid: int

    @property
    def group(self) -> int | None:
        return self.gid if self.user else None

    @property
    def extra_groups(self) -> list[int] | None:
        return [] if self.user else None

    def give(self, path: Path) -> None:
        """Make it the owner of a file or directory that this process created."""
        if self.user:
            os.chown(path, self.uid, self.gid)

    def may_enter(self, directory: Path) -> bool:
        """Whether it can reach what is in a directory."""
        if self.user is None:
            return os.access(directory, os.X_OK)
        done = subprocess.run(
            ["/bin/sh", "-c", 'test -x "$1"', "sh", str(directory)],
            check=False,
            cwd="/",
            user=self.user,
            group=self.gid,
            extra_groups=[],
        )
        return done.returncode == 0


def for_this_process() -> Account:
    """The account that Postgres has to run as here. Root's is created when it is first needed.

    Raises:
        DatabaseUnavailable: this is root, and the account can't be created.
    """
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid())
    entry = _entry()
    if entry is None:
        _create()
        entry = _entry()
    if entry is None or entry.pw_uid == 0:
        raise _refused("there is no such account")
    return Account(user=SYSTEM_ACCOUNT, uid=entry.pw_uid, gid=entry.pw_gid)


def _entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(SYSTEM_ACCOUNT)
    except KeyError:
        return None


def _create() -> None:
    """Create the system account: no password, no home, no shell."""
    if useradd := shutil.which("useradd", path=_PATH):
        command = [
            useradd, "--system", "--user-group", "--no-create-home",
            "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SYSTEM_ACCOUNT,
        ]  # fmt: skip
    elif adduser := shutil.which("adduser", path=_PATH):  # busybox
        command = [adduser, "-S", "-D", "-H", "-h", "/nonexistent", SYSTEM_ACCOUNT]
    else:
        raise _refused("this system has neither useradd nor adduser")
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0 and _entry() is None:  # another process may have created it
        raise _refused(done.stderr.strip() or f"{command[0]} failed")


def _refused(reason: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        "The embedded Postgres does not run as root, and the system account "
        f"{SYSTEM_ACCOUNT!r} that it would run as can't be created: {reason}. "
        "Run this command as another user, or set DATABASE_URL."
    )


_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
