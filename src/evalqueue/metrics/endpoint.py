"""The endpoint of a worker: `GET /metrics` in a thread of its own.

It answers even while the event loop stands still, which is when its figures matter. Other programs
on the network may reach it: connections are few, and each has a deadline for its request and its
answer. Where there are too many, the oldest is closed: slow clients never keep a scrape out.
"""

import contextlib
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import cast

from evalqueue.errors import CannotListen
from evalqueue.metrics.registry import MEDIA_TYPE, Metrics
from evalqueue.telemetry.logs import LoggedError

PATH = "/metrics"
CONNECTIONS_MAX = 16
REQUEST_SECONDS = 5.0
"""From a connection to the end of its answer."""
_CLOSING_SECONDS = 0.5  # that a thread may take to notice that its connection was closed

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def exposed(metrics: Metrics, *, host: str, port: int) -> Generator[int]:
    """Serve metrics while the block lasts. Yields the port.

    Args:
        metrics: what is served.
        host: the address to listen on.
        port: 0: any free one.

    Raises:
        CannotListen: with the reason.
    """
    try:
        server = _MetricsServer(host.strip("[]"), port, metrics.expose)
    except OSError as error:
        raise CannotListen(
            f"Can't serve metrics on port {port} of {host}: {error.strerror}. Choose others with "
            "EVALQUEUE_METRICS_HOST and EVALQUEUE_METRICS_PORT, one port for each worker process."
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    bound = server.socket.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    logger.info("Metrics on http://%s:%d%s", shown, bound, PATH)
    try:
        yield bound
    finally:
        server.shutdown()
        server.server_close()


class _MetricsServer(ThreadingMixIn, TCPServer):
    """One thread for each connection, and no more than a few."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, host: str, port: int, expose: Callable[[], bytes]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.expose = expose
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._began_at: dict[socket.socket, float] = {}  # of each connection, the oldest first
        super().__init__((host, port), _MetricsHandler)

    def verify_request(self, request: object, client_address: object) -> bool:
        if self._free.acquire(blocking=False):
            return True
        for oldest in tuple(self._began_at)[:1]:
            self._close(oldest)
        return self._free.acquire(timeout=_CLOSING_SECONDS)

    def process_request(self, request: socket.socket, client_address: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  a TCP server's requests are sockets
        self._began_at[request] = time.monotonic()
        super().process_request(request, client_address)  # pyright: ignore[reportArgumentType]  whatever the address is

    def process_request_thread(self, request: socket.socket, client_address: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  a TCP server's requests are sockets
        try:
            super().process_request_thread(request, client_address)  # pyright: ignore[reportArgumentType]  whatever the address is
        finally:
            self._began_at.pop(request, None)
            self._free.release()

    def service_actions(self) -> None:
        """Close what is over its deadline. Called after each request, and every half second."""
        latest = time.monotonic() - REQUEST_SECONDS
        for connection, began_at in tuple(self._began_at.items()):
            if began_at < latest:
                self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        """End what its thread waits for, which then closes it."""
        self._began_at.pop(connection, None)
        with contextlib.suppress(OSError):  # its client, or its thread, has closed it
            connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle of a response is no error."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            logger.error("Metrics can't be served", exc_info=LoggedError.of(error))


class _MetricsHandler(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != PATH:
            self._answer(HTTPStatus.NOT_FOUND, b"Metrics are at /metrics\n", "text/plain")
            return
        expose = cast("_MetricsServer", self.server).expose
        self._answer(HTTPStatus.OK, expose(), MEDIA_TYPE)

    def _answer(self, status: HTTPStatus, body: bytes, media_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "evalqueue"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name there
        """Scrapes are not logged."""
