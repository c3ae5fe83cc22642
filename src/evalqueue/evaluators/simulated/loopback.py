"""An HTTP server on 127.0.0.1, inside another program or as a program of its own.

It serves the simulated vendors and chatbots over real connections.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Generator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

_BACKLOG = 2048  # connections
_TICK_SECONDS = 0.05
GRACE_SECONDS = 5  # for responses in progress when the server stops


class Loopback:
    """Serves an ASGI app on 127.0.0.1. A stopped server can start again on the same port."""

    def __init__(self, app: ASGIApp, *, port: int = 0) -> None:
        """Port 0: a free port, known once the server has started."""
        self._app = app
        self._port = port
        self._server: uvicorn.Server | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start to serve in the running event loop.

        Raises:
            OSError: the port can't be used.
        """
        listener = self._listen()
        self._server = _Embedded(self._config(log_config=None))
        # Owned by this object and not by a TaskGroup: the task that starts a server inside a
        # long-lived process is seldom the one that stops it.
        self._running = asyncio.create_task(self._server.serve([listener]))

    async def stop(self, *, at_once: bool = False) -> None:
        """Refuse new connections and wait for requests in progress, `GRACE_SECONDS` at most.

        Args:
            at_once: abort the requests in progress instead.
        """
        running, self._running = self._running, None
        if self._server is None or running is None:
            return
        self._server.should_exit = True
        while at_once and not running.done():
            self.close_connections()
            await asyncio.wait(
                {running}, timeout=_TICK_SECONDS
            )  # a client may have connected since
        await running

    def close_connections(self, client: tuple[str, int] | None = None) -> None:
        """Abort the connection of a client (host and port), or all connections if None."""
        if self._server is None:
            return
        for connection in list(self._server.server_state.connections):
            transport = connection.transport
            if client is None or transport.get_extra_info("peername") == client:
                transport.abort()

    def run(self, name: str) -> None:
        """Print the name and the address, then serve in the foreground until interrupted.

        Raises:
            OSError: the port can't be used.
        """
        listener = self._listen()
        sys.stdout.write(f"{name} on {self.url}\n")
        sys.stdout.flush()
        self._server = uvicorn.Server(self._config())
        self._server.run([listener])

    def _listen(self) -> socket.socket:
        # The protocol is named because asyncio switches Nagle's algorithm off only where it is: an
        # answer in two writes would otherwise take 40 ms more. Listening before uvicorn does lets
        # clients connect at once.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self._port))
        except OSError as error:
            listener.close()
            message = f"port {self._port} of 127.0.0.1 can't be used: {error}"
            raise OSError(error.errno, message) from error
        listener.listen(_BACKLOG)
        self._port = listener.getsockname()[1]
        return listener

    def _config(self, **options: Any) -> uvicorn.Config:
        return uvicorn.Config(
            self._app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=75,  # longer than the clients' timeouts, so that clients close first
            timeout_graceful_shutdown=GRACE_SECONDS,
            **options,
        )


class _Embedded(uvicorn.Server):
    """A server inside another program. It leaves the signals to that program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
