"""Closes connections on which a client keeps the server waiting.

uvicorn closes a connection that stays idle after a response. It waits forever for the first byte,
for the rest of a request's head, and for the rest of a body that is not read any more, as long as a
byte comes now and then. This protocol sets one deadline for each of them, which new bytes don't
extend. When all connections are taken, those of the address with most make room for one with fewer.
A connection is admitted or refused when it is made: one that is refused takes no other's place.
"""

import asyncio
from collections import Counter
from typing import Any
from weakref import WeakKeyDictionary

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from evalqueue.http.events import streams

MAX_HEAD_BYTES = 16 * 1024  # of a request line and its headers: h11's default
HEAD_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 15
REFUSED_AT_ONCE = 16  # connections beyond the limit that get a response

_held: WeakKeyDictionary[ServerState, Counter[str]] = WeakKeyDictionary()
"""How many connections of each address are admitted, by server."""


class DeadlineProtocol(H11Protocol):
    """HTTP/1.1 with a deadline for the client."""

    head_seconds = HEAD_SECONDS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._connection: streams.Connection | None = None
        self.is_admitted = False
        self.made_at = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  as uvicorn's own
        super().connection_made(transport)
        # A stream must be able to close its connection.
        self._connection = streams.Connection(transport)
        self.app = streams.with_connection(self.app, self._connection)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]  the same protocol, declared twice
        self._update_deadline()
        if self.limit_concurrency is not None:
            self._admit(self.limit_concurrency - 1)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update_deadline()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        self._leave()
        super().connection_lost(exc)

    def _admit(self, limit: int) -> None:
        """Admit this connection, or let uvicorn refuse its first request."""
        held = _held.setdefault(self.server_state, Counter())
        if held.total() >= limit and not self._make_room(held):
            self.limit_concurrency = 0
            if len(self.connections) - held.total() > REFUSED_AT_ONCE:
                self.transport.abort()  # each is an open file
            return
        self.limit_concurrency = None  # uvicorn counts those that are refused, too
        self.is_admitted = True
        held[self.address] += 1

    def _leave(self) -> None:
        if self.is_admitted:
            self.is_admitted = False
            held = _held[self.server_state]
            held[self.address] -= 1
            if not held[self.address]:
                del held[self.address]

    def _make_room(self, held: Counter[str]) -> bool:
        """Close one connection of the address that has the most, for one that has fewer: who holds
        all connections keeps no other address out. Idle ones go first, then those whose client is
        still sending, then streams, which reconnect; never one whose answer is being made."""
        address, most = max(held.items(), key=lambda each: each[1])
        if held[self.address] + 1 >= most:
            return False
        found = [
            each
            for each in self.connections
            if isinstance(each, DeadlineProtocol)
            and each.is_admitted
            and each.address == address
            and each.yields is not None
        ]
        if not found:
            return False
        first = min(found, key=lambda each: (each.yields or 0, each.made_at))
        first._leave()
        self.connections.discard(first)
        first.transport.abort()
        return True

    @property
    def address(self) -> str:
        return "" if self.client is None else self.client[0]

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return not self.cycle or self.cycle.response_complete

    @property
    def yields(self) -> int | None:
        """How soon it makes room for another address. None: never."""
        if self.is_idle:
            return 0
        if self.conn.their_state is h11.SEND_BODY:
            return 1
        return 2 if self._connection is not None and self._connection.is_stream else None

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
