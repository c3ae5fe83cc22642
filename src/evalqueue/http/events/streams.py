"""Event streams as ASGI responses, and the connections they are sent on.

A client that reads nothing must not hold resources: the kernel's send buffer for it is bounded, and
its connection is aborted. A graceful close would wait for it to read the rest.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from evalqueue.http.events.watchers import Watcher
from evalqueue.telemetry import tasks

STUCK_SECONDS = 10.0  # in which a client read nothing: its connection is aborted
HEARTBEAT_SECONDS = 15.0  # without an event
MAX_STREAM_SECONDS = 3600.0  # then the client reconnects, and its sign-in is checked again
CLOSE_GRACE_SECONDS = 2.0  # for the client to read the rest of a stream that has ended
SEND_BUFFER_BYTES = 64 * 1024  # of the kernel, for each connection
UNACKNOWLEDGED_MILLISECONDS = 30_000  # after which the kernel gives up a connection

_KEY = "evalqueue.connection"


class Connection:
    """The connection of a request, as far as a stream needs it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.is_stream = False

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not accepted, because the client does not read."""
        return self._transport.get_write_buffer_size()

    def abort(self) -> None:
        self._transport.abort()

    def limit(self) -> None:
        """Bound the kernel's send buffer, and the time until it notices that the client is gone."""
        self.is_stream = True
        peer = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # the connection has just ended
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                peer.setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MILLISECONDS
                )


def with_connection(app: ASGIApp, connection: Connection) -> ASGIApp:
    """The application with the connection in the scope of each request."""

    async def app_with_connection(scope: Scope, receive: Receive, send: Send) -> None:
        scope[_KEY] = connection
        await app(scope, receive, send)

    return app_with_connection


class EventStream(Response):
    """Sends a watcher's events until it ends, the client disconnects or reads nothing any more.

    Args:
        caller: who holds it.
        on_end: called when the stream has ended, for whatever reason.

    On a server other than ours the connection is unknown: a client that reads nothing keeps it.
    """

    media_type = "text/event-stream"

    def __init__(
        self, watcher: Watcher, *, caller: str, on_end: Callable[["EventStream"], None]
    ) -> None:
        super().__init__(
            headers={
                "Content-Type": self.media_type,  # Starlette would add a charset
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        del self.headers["Content-Length"]
        self.watcher = watcher
        self._on_end = on_end
        self._connection: Connection | None = None
        self.caller = caller
        self.began_at = asyncio.get_running_loop().time()
        self._sent_at = 0.0
        self._sending_since: float | None = None
        self._unsent_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        disconnect: asyncio.Task[None] | None = None
        try:
            head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(head)
            if scope["method"] != "HEAD":
                self._connection = scope.get(_KEY)
                if self._connection is not None:
                    self._connection.limit()
                disconnect = tasks.start(self._end_on_disconnect(receive), name="end of a stream")
                await self._send_events(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._on_end(self)
            if disconnect is not None:
                disconnect.cancel()
            if self._connection is not None and self._connection.unsent_bytes:
                loop = asyncio.get_running_loop()
                loop.call_later(CLOSE_GRACE_SECONDS, self._connection.abort)

    async def _send_events(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        while body := await self.watcher.take():
            self._sending_since = loop.time()
            self._unsent_bytes = 0 if self._connection is None else self._connection.unsent_bytes
            await send({"type": "http.response.body", "body": body, "more_body": True})
            self._sending_since = None
            self._sent_at = loop.time()

    async def _end_on_disconnect(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.watcher.end()

    def check(self, now: float) -> None:
        """Called every second. Ends a stream that is too old, sends a heartbeat on a silent one,
        and aborts the connection of a client that reads nothing.

        Args:
            now: the event loop's time.
        """
        if now - self.began_at >= MAX_STREAM_SECONDS:
            self.end()
        elif self._sending_since is None:
            if now - self._sent_at >= HEARTBEAT_SECONDS:
                self.watcher.heartbeat()
        elif now - self._sending_since >= STUCK_SECONDS and self._connection is not None:
            unsent_bytes = self._connection.unsent_bytes
            if unsent_bytes >= self._unsent_bytes:
                self._connection.abort()
            self._sending_since, self._unsent_bytes = now, unsent_bytes

    def end(self) -> None:
        """End the stream soon, even if the client does not read."""
        self.watcher.end()
        if self._sending_since is not None and self._connection is not None:
            self._connection.abort()
