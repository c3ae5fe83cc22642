"""A server for the application, in the running event loop."""

import asyncio
import contextlib
import errno
import logging
import resource
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn

from evalqueue.client import Client
from evalqueue.errors import CannotListen
from evalqueue.hosts import is_loopback
from evalqueue.http.app import create_app
from evalqueue.http.connections import (
    KEEP_ALIVE_SECONDS,
    MAX_HEAD_BYTES,
    REFUSED_AT_ONCE,
    DeadlineProtocol,
)
from evalqueue.http.events.broadcaster import Broadcaster
from evalqueue.settings import Settings
from evalqueue.telemetry.logs import LoggedError
from evalqueue.tokens import VARIABLE

GRACE_SECONDS = 10  # for active requests, when the server stops
_BACKLOG = 2048  # connections
_ACCEPTED_AT_ONCE = 16  # connections: files before they are counted, and while they close
_OTHER_FILES = 100 + REFUSED_AT_ONCE + 5 * _ACCEPTED_AT_ONCE  # besides the connections admitted

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The address of a server."""

    host: str
    port: int
    root_path: str = ""
    """What a proxy serves it under."""

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.root_path}"


@asynccontextmanager
async def serve(
    client: Client,
    *,
    host: str | None = None,
    port: int | None = None,
    or_free_port: bool = False,
    root_path: str | None = None,
) -> AsyncGenerator[Address]:
    """Serve the API for as long as the context lasts, then let active requests finish.

        async with serve(client) as address:
            await stopped.wait()

    It handles no signals; that is left to the program.

    Args:
        host: the address to listen on; None: `EVALQUEUE_HOST`.
        port: None: `EVALQUEUE_PORT`; 0: any free port.
        or_free_port: use any free port if another process listens on `port`.
        root_path: what a proxy serves it under; None: `EVALQUEUE_ROOT_PATH`.

    Raises:
        CannotListen: with the reason, before the first request.
    """
    host = client.settings.host if host is None else host
    root_path = client.settings.root_path if root_path is None else root_path
    if not is_loopback(host) and not client.settings.needs_sign_in:
        raise CannotListen(
            f"{host or 'Every address'} can be reached from other machines, and the API needs "
            "no token. Make one (evalqueue token NAME --right submit) and set "
            f"{VARIABLE}, or listen on 127.0.0.1."
        )
    server = _server(client, root_path)
    listener = _listen(host, client.settings.port if port is None else port, or_free_port)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.serve([listener]))
        try:
            yield Address(host=host, port=listener.getsockname()[1], root_path=root_path)
        finally:
            server.should_exit = True
            await asyncio.wait(
                {running}
            )  # even when cancelled: the group would abort active requests


def raise_file_limit(settings: Settings) -> None:
    """Let this process open as many connections as its settings allow, if the system does: each is
    an open file, of which many systems allow a process 1,024 unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.max_connections + _OTHER_FILES
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if resource.RLIM_INFINITY != soft < most:
        with contextlib.suppress(ValueError, OSError):  # `_connection_limit` stays below it
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _connection_limit(settings: Settings) -> int:
    """How many connections are accepted. Out of files the process would accept none, of no address,
    no idle connection would make room, and asyncio logs thousands of errors at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return settings.max_connections
    limit = min(settings.max_connections, soft - min(_OTHER_FILES, soft // 2))
    if limit < settings.max_connections:
        logger.warning(
            "Connections are limited to %d: this process may open %d files (ulimit -n)", limit, soft
        )
    return limit


def _without_text(record: logging.LogRecord) -> bool:
    """Take the texts of unexpected errors, which may quote conversations, out of its records."""
    if record.exc_info and (error := record.exc_info[1]) is not None:
        replaced = LoggedError.of(error)
        record.exc_info = (LoggedError, replaced, replaced.__traceback__)
    return True


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the program."""

    def __init__(self, config: uvicorn.Config, broadcaster: Broadcaster) -> None:
        super().__init__(config)
        self._broadcaster = broadcaster

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(_BACKLOG)  # asyncio has set it to what it accepts at once

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._broadcaster.end()  # streams never end by themselves
        await super().shutdown(sockets)


def _server(client: Client, root_path: str) -> _Server:
    app = create_app(client, root_path=root_path)
    settings = client.settings
    logging.getLogger("uvicorn.error").addFilter(_without_text)  # only once, however many servers
    config = uvicorn.Config(
        app,
        http=DeadlineProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        ws="none",
        limit_concurrency=_connection_limit(settings)
        + 1,  # uvicorn refuses the connection that reaches it
        backlog=_ACCEPTED_AT_ONCE,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return _Server(config, app.state.broadcaster)


def _listen(host: str, port: int, or_free_port: bool) -> socket.socket:
    # With the protocol named, asyncio disables Nagle's algorithm. Listening here, before uvicorn
    # starts, makes the port known and lets clients connect at once.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if or_free_port and port and error.errno == errno.EADDRINUSE:
            return _listen(host, 0, or_free_port)
        raise CannotListen(
            f"Can't listen on port {port} of {host}: {error.strerror}. "
            "Choose others with EVALQUEUE_HOST and EVALQUEUE_PORT."
        ) from error
    return listener
