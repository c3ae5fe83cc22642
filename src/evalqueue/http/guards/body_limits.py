"""Limits on request bodies: their size, and how slowly they may arrive."""

import asyncio
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evalqueue.http.callers import ANONYMOUS, caller_of
from evalqueue.http.error_responses import detail_response
from evalqueue.http.guards.root_path import path_of
from evalqueue.http.uploads import FORM_BYTES, is_form, too_large

ANONYMOUS_BODY_BYTES = 16 * 1024  # enough to sign in
WINDOW_SECONDS = 20.0
MIN_WINDOW_BYTES = 4096

_TOO_SLOW = "The body came too slowly. Send it again, in one go."


class BodyLimit:
    """Refuses larger bodies with 413: at once if Content-Length declares it, else when the limit is
    reached. Anonymous callers may send `ANONYMOUS_BODY_BYTES`.

    Args:
        max_file_bytes: of a file, in a form that is sent to one of `upload_paths`.
        upload_paths: the paths that accept files.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, max_file_bytes: int, upload_paths: Collection[str]
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_file_bytes = max_file_bytes
        self._upload_paths = frozenset(upload_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit, reason = self._limit(scope)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            await detail_response(413, reason)(scope, receive, send)
            return

        received_bytes = 0

        async def receive_counted() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > limit:
                raise HTTPException(413, reason)
            return message

        await self._app(scope, receive_counted, send)

    def _limit(self, scope: Scope) -> tuple[int, str]:
        """The limit in bytes, and the message to a client that exceeds it."""
        if caller_of(scope) is ANONYMOUS:
            limit = min(self._max_bytes, ANONYMOUS_BODY_BYTES)
            return limit, _too_large(limit)
        path = path_of(scope)
        if path in self._upload_paths and is_form(scope):
            return self._max_file_bytes + FORM_BYTES, too_large(self._max_file_bytes)
        return self._max_bytes, _too_large(self._max_bytes)


class BodyDeadline:
    """Refuses with 408 a body of which fewer than `MIN_WINDOW_BYTES` arrive in a window.

    The body as a whole has no deadline, and after its last byte nothing is timed: the response may
    be a stream.
    """

    def __init__(self, app: ASGIApp, *, window_seconds: float = WINDOW_SECONDS) -> None:
        self._app = app
        self._window_seconds = window_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        is_incomplete, has_response = True, False
        window_bytes, left_seconds = 0, self._window_seconds

        async def receive_timed() -> Message:
            nonlocal is_incomplete, window_bytes, left_seconds
            if not is_incomplete:
                return await receive()
            began_at = loop.time()
            try:
                async with asyncio.timeout(left_seconds):
                    message = await receive()
            except TimeoutError:
                is_incomplete = False
                if has_response:
                    return {"type": "http.disconnect"}
                raise HTTPException(408, _TOO_SLOW, {"Connection": "close"}) from None
            # Only the time of waiting counts: between two calls the application may be busy.
            left_seconds -= loop.time() - began_at
            window_bytes += len(message.get("body", b""))
            if window_bytes >= MIN_WINDOW_BYTES:
                window_bytes, left_seconds = 0, self._window_seconds
            is_incomplete = message.get("more_body", False)
            return message

        async def send_noted(message: Message) -> None:
            nonlocal has_response
            has_response = True
            await send(message)

        await self._app(scope, receive_timed, send_noted)


def _too_large(max_bytes: int) -> str:
    return (
        f"The body is larger than {max_bytes} bytes. Send less, "
        "or raise EVALQUEUE_MAX_BODY_BYTES where the server runs."
    )
