"""No request body is larger than it may be, nothing beyond that is kept in memory, and none keeps
us waiting: what comes too slowly is cut.
"""

import asyncio
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evalqueue.http.callers import ANYBODY, caller_of
from evalqueue.http.error_responses import detail
from evalqueue.http.uploads import FORM_BYTES, is_form, too_large

STRANGERS_BYTES = 16 * 1024  # enough to sign in


class BodyLimit:
    """Refuses larger bodies with 413: at once where their length is told, else on the way. Whoever
    is not known may send `STRANGERS_BYTES`.

    Args:
        max_file_bytes: of a file, in a form that is sent to one of `uploads`.
        uploads: the paths that take files.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, max_file_bytes: int, uploads: Collection[str]
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_file_bytes = max_file_bytes
        self._uploads = frozenset(uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit, reason = self._limit(scope)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            await detail(413, reason)(scope, receive, send)
            return

        received_bytes = 0

        async def counted() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > limit:
                raise HTTPException(413, reason)
            return message

        await self._app(scope, counted, send)

    def _limit(self, scope: Scope) -> tuple[int, str]:
        """How many bytes there may be, and what is said about more."""
        if caller_of(scope) is ANYBODY:
            limit = min(self._max_bytes, STRANGERS_BYTES)
            return limit, _too_large(limit)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path in self._uploads and is_form(scope):
            return self._max_file_bytes + FORM_BYTES, too_large(self._max_file_bytes)
        return self._max_bytes, _too_large(self._max_bytes)


def _too_large(max_bytes: int) -> str:
    return (
        f"The body is larger than {max_bytes} bytes. Send less, "
        "or raise EVALQUEUE_MAX_BODY_BYTES where the server runs."
    )


PAUSE_SECONDS = 20.0
MIN_BYTES = 4096  # in that time


class SteadyBody:
    """Refuses with 408 a body of which, for `PAUSE_SECONDS`, less than `MIN_BYTES` came.

    However long it is, it may take its time as a whole; and once it is there, nothing is timed:
    an answer may be a stream.
    """

    def __init__(self, app: ASGIApp, *, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._app = app
        self._pause_seconds = pause_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        is_coming, is_answered = True, False
        received_bytes, patience = 0, self._pause_seconds

        async def timed() -> Message:
            nonlocal is_coming, received_bytes, patience
            if not is_coming:
                return await receive()
            began = loop.time()
            try:
                async with asyncio.timeout(patience):
                    message = await receive()
            except TimeoutError:
                is_coming = False
                if is_answered:
                    return {"type": "http.disconnect"}
                raise HTTPException(408, _TOO_SLOW, {"Connection": "close"}) from None
            patience -= loop.time() - began  # only waiting counts: the pause may be ours
            received_bytes += len(message.get("body", b""))
            if received_bytes >= MIN_BYTES:
                received_bytes, patience = 0, self._pause_seconds
            is_coming = message.get("more_body", False)
            return message

        async def noted(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        await self._app(scope, timed, noted)


_TOO_SLOW = "The body came too slowly. Send it again, in one go."
