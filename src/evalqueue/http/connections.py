"""Nobody keeps a connection without using it.

uvicorn closes one on which nothing has come for a while after an answer. It waits without an end
for the first byte, for the rest of a request's head, and for the rest of a body that nobody reads
any more, as long as a byte comes now and then; so this protocol gives each of them one time that
does not begin anew.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from evalqueue.http.events import streams

MAX_HEAD_BYTES = 16 * 1024  # of a request line and its headers: h11's own, said where it is seen
HEAD_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 15


class PromptProtocol(H11Protocol):
    """HTTP/1.1, with an end to waiting for the client."""

    head_seconds = HEAD_SECONDS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  as uvicorn's own
        super().connection_made(transport)
        # A stream has to be able to cut the connection it came on.
        self.app = streams.on(self.app, transport)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]  the same protocol, declared twice
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if not self._keeps_us_waiting():
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.head_seconds, self._hang_up)

    def _keeps_us_waiting(self) -> bool:
        """Whether the next thing to come is a head, or what is left of an answered request. Between
        two requests uvicorn's own timer runs."""
        if self.timeout_keep_alive_task is not None:
            return False
        begun, answered = self.conn.their_state, self.conn.our_state
        return begun is h11.IDLE or (begun is h11.SEND_BODY and answered is h11.DONE)

    def _hang_up(self) -> None:
        self._deadline = None
        self.transport.close()

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
