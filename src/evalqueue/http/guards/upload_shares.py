"""Each caller's share of uploads: how many at a time, and of the disk that they fill."""

import asyncio
from collections import Counter
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evalqueue.http.error_responses import detail_response
from evalqueue.http.guards.rate_limits import TooManyRequests, caller_key
from evalqueue.http.guards.root_path import path_of
from evalqueue.http.uploads import FORM_BYTES, is_form

UPLOADS_MAX = 4  # of one caller at the same time
WAITING_MAX = 16  # of one caller, until one of those has ended
PATIENCE_SECONDS = 5.0  # for that
FILES_MAX = 2  # of the largest size: what the uploads of one caller may hold on disk together
RETRY_SECONDS = 5


class UploadShares:
    """Lets uploads wait that exceed a caller's share, and then refuses them with 429.

    A file is on disk while it arrives and is read. Without shares, one caller with slow uploads
    would fill the disk and keep the threads busy that read all callers' files.

    Args:
        max_file_bytes: of one file.
        upload_paths: the paths that accept files.
    """

    def __init__(self, app: ASGIApp, *, max_file_bytes: int, upload_paths: Collection[str]) -> None:
        self._app = app
        self._max_bytes = FILES_MAX * (max_file_bytes + FORM_BYTES)
        self._upload_paths = frozenset(upload_paths)
        self._uploads: dict[tuple[str, str], asyncio.Semaphore] = {}
        self._in_use = Counter[tuple[str, str]]()
        self._bytes = Counter[tuple[str, str]]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_upload(scope):
            await self._app(scope, receive, send)
            return
        caller = caller_key(scope)
        if self._in_use[caller] >= UPLOADS_MAX + WAITING_MAX:
            await _refuse(scope, receive, send)
            return
        places = self._uploads.setdefault(caller, asyncio.Semaphore(UPLOADS_MAX))
        self._in_use[caller] += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await places.acquire()
        except TimeoutError:
            await _refuse(scope, receive, send)
        else:
            try:
                await self._accept(scope, receive, send, caller)
            finally:
                places.release()
        finally:
            self._in_use[caller] -= 1
            if not self._in_use[caller]:
                del self._in_use[caller], self._uploads[caller]

    async def _accept(
        self, scope: Scope, receive: Receive, send: Send, caller: tuple[str, str]
    ) -> None:
        received_bytes = 0

        async def receive_counted() -> Message:
            nonlocal received_bytes
            message = await receive()
            size = len(message.get("body", b""))
            received_bytes += size
            self._bytes[caller] += size
            if self._bytes[caller] > self._max_bytes:
                raise _refused("Your uploads that have not ended are too large together.")
            return message

        try:
            await self._app(scope, receive_counted, send)
        finally:
            self._bytes[caller] -= received_bytes
            if not self._bytes[caller]:
                del self._bytes[caller]

    def _is_upload(self, scope: Scope) -> bool:
        path = path_of(scope)
        return path in self._upload_paths and is_form(scope)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    refused = _refused(f"{UPLOADS_MAX} of your uploads have not ended yet.")
    response = detail_response(refused.status_code, refused.detail, refused.headers)
    await response(scope, receive, send)


def _refused(detail: str) -> TooManyRequests:
    return TooManyRequests(f"{detail} Wait for them, and send this one again.", RETRY_SECONDS)
