"""A stream of server-sent events as an ASGI response, and the connection it goes out on.

A watcher who takes nothing must cost nobody anything: what the kernel keeps for him is bounded, and
his connection is cut, since one that is merely closed waits for him to take the rest.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from evalqueue.http.events.watchers import Watcher

STUCK_SECONDS = 10.0  # in which a watcher took nothing: cut
HEARTBEAT_SECONDS = 15.0  # of silence
LIFE_SECONDS = 3600.0  # then whoever still may comes back, and who may no longer does not
FAREWELL_SECONDS = 2.0  # for the rest of a stream that has ended
KERNEL_BYTES = 64 * 1024  # that the kernel may keep for a watcher
GONE_MILLISECONDS = 30_000  # in which a peer acknowledged nothing: gone

_KEY = "evalqueue.connection"


class Connection:
    """The connection that a request came on, as far as a stream has to do with it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    @property
    def waiting_bytes(self) -> int:
        """Taken neither by the watcher nor by the kernel."""
        return self._transport.get_write_buffer_size()

    def cut(self) -> None:
        self._transport.abort()

    def bound(self) -> None:
        """Let the kernel keep little, and notice a peer that is gone without a word."""
        peer = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # it has just ended
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MILLISECONDS)


def on(app: ASGIApp, transport: asyncio.Transport) -> ASGIApp:
    """The application for the requests of one connection, which it can find in their scope."""
    connection = Connection(transport)

    async def with_connection(scope: Scope, receive: Receive, send: Send) -> None:
        scope[_KEY] = connection
        await app(scope, receive, send)

    return with_connection


class EventStream(Response):
    """What a watcher is told, until it is over, he leaves, or takes nothing any more.

    Args:
        leave: called when it ends, however it does.

    On a server that is not ours there is no connection to cut: he keeps it, and nothing else.
    """

    media_type = "text/event-stream"

    def __init__(self, watcher: Watcher, *, leave: Callable[["EventStream"], None]) -> None:
        super().__init__(
            headers={
                "Content-Type": self.media_type,  # Starlette would add a charset
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        del self.headers["Content-Length"]
        self.watcher = watcher
        self._leave = leave
        self._connection: Connection | None = None
        self._began_at = asyncio.get_running_loop().time()
        self._sent_at = 0.0
        self._waits_since: float | None = None
        self._waiting_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving: asyncio.Task[None] | None = None
        try:
            head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(head)
            if scope["method"] != "HEAD":
                self._connection = scope.get(_KEY)
                if self._connection is not None:
                    self._connection.bound()
                leaving = asyncio.create_task(self._until_gone(receive))
                await self._tell(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._leave(self)
            if leaving is not None:
                leaving.cancel()
            if self._connection is not None and self._connection.waiting_bytes:
                asyncio.get_running_loop().call_later(FAREWELL_SECONDS, self._connection.cut)

    async def _tell(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        while body := await self.watcher.take():
            self._waits_since = loop.time()
            self._waiting_bytes = 0 if self._connection is None else self._connection.waiting_bytes
            await send({"type": "http.response.body", "body": body, "more_body": True})
            self._waits_since = None
            self._sent_at = loop.time()

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.watcher.end()

    def look_after(self, now: float) -> None:
        """Show that it lives when it was silent for long; cut it when nobody takes anything; end it
        when it has lived for long: a sign-in may be over meanwhile."""
        if now - self._began_at >= LIFE_SECONDS:
            self.end()
        elif self._waits_since is None:
            if now - self._sent_at >= HEARTBEAT_SECONDS:
                self.watcher.beat()
        elif now - self._waits_since >= STUCK_SECONDS and self._connection is not None:
            waiting = self._connection.waiting_bytes
            if waiting >= self._waiting_bytes:
                self._connection.cut()
            self._waits_since, self._waiting_bytes = now, waiting

    def end(self) -> None:
        """End it soon, whatever the watcher does."""
        self.watcher.end()
        if self._waits_since is not None and self._connection is not None:
            self._connection.cut()
