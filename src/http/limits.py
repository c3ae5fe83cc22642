"""No request body is larger than it may be, and nothing beyond that is kept in memory."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evalqueue.http.refusals import detail


class BodyLimit:
    """Refuses larger bodies with 413: at once where their length is told, else on the way."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            await detail(413, self._reason)(scope, receive, send)
            return

        received_bytes = 0

        async def counted() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > self._max_bytes:
                raise HTTPException(413, self._reason)
            return message

        await self._app(scope, counted, send)

    @property
    def _reason(self) -> str:
        return (
            f"The body is larger than {self._max_bytes} bytes. Send less, "
            "or raise EVALQUEUE_MAX_BODY_BYTES where the server runs."
        )
