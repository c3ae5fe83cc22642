"""Passwords that a command prints, as managed Postgres with tokens of short life asks for.

The command runs when a connection is opened. What it printed is used for some seconds more, so that
a pool that opens many connections runs it once.
"""

import asyncio
import logging
import os
import re
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

import psycopg
from psycopg.conninfo import conninfo_to_dict

from evalqueue.errors import ONE_LINE_LIMIT
from evalqueue.telemetry import logs

VARIABLE = "EVALQUEUE_PASSWORD_COMMAND"
CACHE_SECONDS = 5.0
TIME_LIMIT_SECONDS = 10.0
OUTPUT_MAX_BYTES = 65_536
_CHUNK_BYTES = 4096
_END_SECONDS = 1.0

logger = logging.getLogger(__name__)


class PasswordUnavailable(psycopg.OperationalError):
    """The command printed no password: the connection can't be opened now."""


class CommandMissing(PasswordUnavailable):
    """The command can't be started, now and later."""


class Passwords:
    """The passwords of a process's connections.

    Args:
        command: a program and its arguments. Empty: addresses have the passwords, if any.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._running = asyncio.Lock()
        self._ran_at: float | None = None
        self._last: str | PasswordUnavailable = ""

    async def of(self, conninfo: str) -> str | None:
        """The password to add to an address. None: it has one, or there is no command.

        Raises:
            PasswordUnavailable: the command failed, now or some seconds ago.
        """
        if not self._command or conninfo_to_dict(conninfo).get("password"):
            return None
        async with self._running:
            if self._ran_at is None or time.monotonic() - self._ran_at > CACHE_SECONDS:
                await self._run()
        if isinstance(self._last, PasswordUnavailable):
            raise type(self._last)(str(self._last))  # each with a traceback of its own
        return self._last

    async def _run(self) -> None:
        try:
            self._last = await printed_password(self._command)
        except PasswordUnavailable as error:
            logger.warning("No connection to Postgres can be opened: %s", error)
            self._last = error
        self._ran_at = time.monotonic()


async def printed_password(command: Sequence[str]) -> str:
    """The password that a command prints: one line.

    Raises:
        PasswordUnavailable: it printed none within 10 s. The message has no output of it but the
            first line of stderr, without secrets.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is not for it, and all of it can be ended
        )
    except OSError as error:
        raise CommandMissing(
            f"{VARIABLE} can't be started: {command[0]}: {error.strerror}"
        ) from error
    except ValueError as error:
        raise CommandMissing(f"{VARIABLE} can't be started: {error}") from error
    has_ended = False
    try:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            out, err = await _output(process)
            exit_code = await process.wait()
        has_ended = True
    except TimeoutError:
        raise PasswordUnavailable(
            f"{VARIABLE} did not end within {TIME_LIMIT_SECONDS:.0f} s"
        ) from None
    finally:
        if not has_ended:
            await _end(process)
    if len(out) > OUTPUT_MAX_BYTES:
        raise PasswordUnavailable(f"{VARIABLE} printed more than {OUTPUT_MAX_BYTES} bytes")
    text = out.decode(errors="replace").rstrip("\r\n")
    if exit_code != 0:
        how = f"exit status {exit_code}" if exit_code > 0 else f"signal {-exit_code}"
        raise PasswordUnavailable(f"{VARIABLE} ended with {how}: {_first_line(err, text)}")
    if not text.isprintable() or not text:
        raise PasswordUnavailable(f"{VARIABLE} has to print one line, the password")
    return text


async def _output(process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    """The beginnings of what it prints; it is ended if that is too much."""
    stdout, stderr = process.stdout, process.stderr
    assert stdout is not None  # noqa: S101  both are pipes, which asyncio's types don't know
    assert stderr is not None  # noqa: S101

    async def read_password() -> bytes:
        found = b""
        while chunk := await stdout.read(_CHUNK_BYTES):
            if len(found) > OUTPUT_MAX_BYTES:
                _kill(process)
            else:
                found += chunk
        return found

    async def read_reason() -> bytes:
        found = b""
        while chunk := await stderr.read(_CHUNK_BYTES):
            found += chunk if len(found) < _CHUNK_BYTES else b""
        return found

    async with asyncio.TaskGroup() as group:
        out, err = group.create_task(read_password()), group.create_task(read_reason())
    return out.result(), err.result()


def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill a command and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a command, and wait until it has ended and its pipes are closed."""
    _kill(process)
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):  # what left its session may hold them open
            await process.communicate()


def _first_line(err: bytes, out: str) -> str:
    """The first line of stderr, without what may be a secret, and without control characters."""
    lines = err.decode(errors="replace").strip().splitlines() or ["it printed no reason"]
    line = logs.without_secrets(lines[0])
    printed = {each.strip() for each in out.splitlines()} - {""}
    secrets = sorted(printed.union(logs.secrets_of({"STDERR": line})), key=len, reverse=True)
    if secrets:  # all at once: a short one may be a part of what stands for another
        line = re.sub("|".join(map(re.escape, secrets)), logs.HIDDEN, line)
    return logs.escaped(line)[:ONE_LINE_LIMIT]
