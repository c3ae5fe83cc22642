"""Protection of an API without a token from web pages of other origins.

Without a token the API is for this machine only. A web page from elsewhere can still make the
user's browser call it: `KnownHost` stops pages that resolve their own name to 127.0.0.1 (DNS
rebinding), `KnownOrigin` those that post across origins.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from evalqueue.hosts import is_loopback
from evalqueue.http.callers import LOCAL_CALLER, identify
from evalqueue.http.error_responses import detail_response
from evalqueue.tokens import VARIABLE

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class KnownHost:
    """Refuses with 403 requests whose Host header names another machine.

    Args:
        own_names: further names of this machine.
    """

    def __init__(self, app: ASGIApp, *, own_names: Collection[str]) -> None:
        self._app = app
        self._own_names = frozenset(name.strip("[]").lower() for name in own_names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_known(Headers(scope=scope).get("host", "")):
            response = detail_response(
                403,
                "The Host header does not name this machine. Call it by 127.0.0.1 or localhost; "
                f"to serve under another name, set {VARIABLE}.",
            )
            await response(scope, receive, send)
            return
        identify(scope, LOCAL_CALLER)
        await self._app(scope, receive, send)

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and (name in self._own_names or is_loopback(name))


class KnownOrigin:
    """Refuses with 403 changes that a web page of another origin requests.

    Args:
        origins: the allowed ones besides the server's own.
    """

    def __init__(self, app: ASGIApp, *, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
            headers = Headers(scope=scope)
            if "origin" in headers and not (
                "*" in self._origins or is_allowed_origin(headers, self._origins)
            ):
                await origin_refused()(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_allowed_origin(headers: Headers, origins: Collection[str]) -> bool:
    """Whether the Origin header names this server or one of `origins`."""
    origin = headers.get("origin", "")
    if origin in origins:
        return True
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
    except ValueError:
        return False


def origin_refused() -> ASGIApp:
    """The response to a change from a page of another origin."""
    return detail_response(
        403,
        "Pages of this Origin may not change anything here. "
        "To allow them, add it to EVALQUEUE_CORS_ORIGINS.",
    )
