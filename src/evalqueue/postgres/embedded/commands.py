"""Runs the programs of Postgres: their environment, and errors that say what to do."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from evalqueue.errors import DatabaseUnavailable
from evalqueue.postgres.embedded.account import Account

OUTPUT_LIMIT = 1500  # characters of a program's output in an error message

_CURES = (
    (
        r"No space left on device|Check free disk space|could not resize shared memory|disk quota",
        "Free some space, or set EVALQUEUE_HOME to a directory on another disk.",
    ),
    (
        r"could not look up effective user ID",
        "Postgres needs an account with a name: run as a user of /etc/passwd, or set DATABASE_URL.",
    ),
    (
        r"Read-only file system|Permission denied|Operation not permitted",
        "Set EVALQUEUE_HOME to a directory that this user may write.",
    ),
    (
        r"GLIBC_|not found \(required by|cannot execute|Exec format",
        "The bundled Postgres does not run on this system: set DATABASE_URL.",
    ),
    (
        r"could not create shared memory|could not open shared memory|Cannot allocate memory",
        "Postgres gets too little memory here: raise the limit, or set DATABASE_URL.",
    ),
)
_ELSEWHERE = "Set DATABASE_URL to use another Postgres."


def environment() -> dict[str, str]:
    """The environment of Postgres' programs.

    Without `PG*`, which is meant for other servers, and in the C locale, which is always installed
    and in which messages are English.
    """
    kept = {name: value for name, value in os.environ.items() if not _is_libpq(name)}
    return {name: value for name, value in kept.items() if not name.startswith("LC_")} | {
        "LC_ALL": "C",
        "LANG": "C",
    }


def clear_libpq_environment() -> None:
    """Remove `PG*` from this process' environment, and so from its children's.

    `PGSERVICE`, `PGOPTIONS`, `PGREQUIREAUTH` and the like are meant for other servers. Both drivers
    would apply them to the embedded one.
    """
    for name in [name for name in os.environ if _is_libpq(name)]:
        del os.environ[name]


def run(
    arguments: Sequence[str | Path],
    account: Account,
    *,
    stdin: Path | None = None,
    stdout: Path | None = None,
    more_environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end, and return what it wrote, unless that goes to the file `stdout`.

    Raises:
        DatabaseUnavailable: it failed. The message has its output and, if known, the cure.
    """
    name = Path(arguments[0]).name
    with (
        open(stdin or os.devnull, "rb") as source,
        open(stdout or os.devnull, "wb") as target,
    ):
        try:
            done = subprocess.run(
                [str(argument) for argument in arguments],
                check=False,
                stdin=source,
                stdout=target if stdout else subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment() | dict(more_environment or {}),
                cwd="/",  # the current directory may be closed to the account
                user=account.user,
                group=account.group,
                extra_groups=account.extra_groups,
            )
        except OSError as error:
            raise failure(f"{name} could not be run: {error}.", str(error)) from error
    errors = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode != 0:
        output = "" if stdout else done.stdout.decode("utf-8", "replace")
        shown = (errors or output).strip()[-OUTPUT_LIMIT:]
        raise failure(f"{name} failed with exit code {done.returncode}:\n{shown}\n", shown)
    return "" if stdout else done.stdout.decode("utf-8", "replace")


def start_in_background(arguments: Sequence[str], account: Account, *, log: Path) -> int:
    """Start a program that outlives this process, and return its process id.

    It gets a session of its own, so that Ctrl-C does not reach it, and it is no child of this
    process, which need not wait for it. What it writes is appended to `log`.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "ab") as output:
        done = subprocess.run(
            ["/bin/sh", "-c", 'exec 3>&2 2>&1; "$@" 3>&- & echo $! >&3', "sh", *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            env=environment(),
            cwd="/",  # the current directory may be closed to the account
            user=account.user,
            group=account.group,
            extra_groups=account.extra_groups,
            start_new_session=True,
        )
    return int(done.stderr)


def failure(what: str, output: str) -> DatabaseUnavailable:
    """The error for what went wrong, with the cure that fits a program's output."""
    cure = next((cure for pattern, cure in _CURES if re.search(pattern, output)), _ELSEWHERE)
    return DatabaseUnavailable(f"The embedded Postgres did not start. {what.rstrip()}\n{cure}")


def _is_libpq(name: str) -> bool:
    return name.startswith("PG")
