"""Closes connections on which a client keeps the server waiting.

uvicorn closes a connection that stays idle after a response. It waits forever for the first byte,
for the rest of a request's head, and for the rest of a body that is not read any more, as long as a
byte comes now and then. This protocol sets one deadline for each of them, which new bytes don't
extend. When all connections are taken, idle ones of an address with many make room.
"""

import asyncio
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from evalqueue.http.events import streams

MAX_HEAD_BYTES = 16 * 1024  # of a request line and its headers: h11's default
HEAD_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 15
REFUSED_AT_ONCE = 64  # connections beyond the limit that get a response


class DeadlineProtocol(H11Protocol):
    """HTTP/1.1 with a deadline for the client."""

    head_seconds = HEAD_SECONDS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self.made_at = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  as uvicorn's own
        super().connection_made(transport)
        # A stream must be able to close its connection.
        self.app = streams.with_connection(self.app, transport)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]  the same protocol, declared twice
        self._update_deadline()
        if self.limit_concurrency is not None:
            self._make_room(len(self.connections) - self.limit_concurrency + 1)
            if len(self.connections) > self.limit_concurrency + REFUSED_AT_ONCE:
                transport.abort()  # each is an open file

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update_deadline()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)

    def _make_room(self, number: int) -> None:
        """Close so many idle connections of the address that has the most, the oldest first, for
        one that has fewer: who holds all connections keeps no other address out."""
        if number <= 0:
            return
        others = [each for each in self.connections if isinstance(each, DeadlineProtocol)]
        held = Counter(each.address for each in others)
        address, most = held.most_common(1)[0]
        if held[self.address] + number > most:
            return
        idle = [each for each in others if each.address == address and each.is_idle]
        for each in sorted(idle, key=lambda each: each.made_at)[:number]:
            self.connections.discard(each)
            each.transport.abort()

    @property
    def address(self) -> str:
        return "" if self.client is None else self.client[0]

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return not self.cycle or self.cycle.response_complete

    def _update_deadline(self) -> None:
        if not self._is_waiting():
            self._cancel_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.head_seconds, self._close)

    def _is_waiting(self) -> bool:
        """Whether the client must send a head next, or the rest of a request that has its response.
        Between two requests uvicorn's own timer runs."""
        if self.timeout_keep_alive_task is not None:
            return False
        client_state, server_state = self.conn.their_state, self.conn.our_state
        return client_state is h11.IDLE or (
            client_state is h11.SEND_BODY and server_state is h11.DONE
        )

    def _close(self) -> None:
        self._deadline = None
        self.transport.close()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
