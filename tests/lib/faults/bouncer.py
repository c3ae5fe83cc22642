"""PgBouncer in transaction mode in front of a Postgres."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from faults.server import free_port

START_PATIENCE = 90.0  # seconds
RETRY_DELAY = 0.02  # seconds

_PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")

_CONFIG = """\
[databases]
* = host=127.0.0.1 port={server_port} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 200
default_pool_size = {pool_size}
ignore_startup_parameters = extra_float_digits,options
server_login_retry = 1
"""


def find() -> str | None:
    """The path of PgBouncer; None: it is not installed, and `./run test` could not fetch it."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *_PLACES))
    return os.environ.get("EVALQUEUE_PGBOUNCER") or shutil.which("pgbouncer", path=path)


@contextlib.asynccontextmanager
async def bouncer(
    home: Path, server_port: int, *, pool_size: int = 10, port: int | None = None
) -> AsyncGenerator[int]:
    """Run a PgBouncer in front of the Postgres on `server_port`; yields PgBouncer's port."""
    program = find()
    assert program is not None, "No pgbouncer: install PgBouncer, or set EVALQUEUE_PGBOUNCER"
    port = port or free_port()
    config = home / f"pgbouncer-{port}.ini"
    # PgBouncer accepts any client as the one user; the server asks for no password.
    config.write_text(_CONFIG.format(port=port, server_port=server_port, pool_size=pool_size))
    command = [program, "--quiet", str(config)]
    if os.geteuid() == 0:  # PgBouncer refuses to run as root
        command[1:1] = ["--user", "nobody"]
    log = home / f"pgbouncer-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220  waited for in a thread
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        await _until_it_answers(port, process, log)
        yield port
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)


async def _until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PgBouncer did not start: {log.read_text()}") from error
            await asyncio.sleep(RETRY_DELAY)
        else:
            writer.close()
            return
