"""Who may call: each guard is a small ASGI middleware with one reason to say no.

Without a token the API is for this machine only. A web page from elsewhere can still make the
user's browser call it: `KnownHost` stops those that point a name of their own at 127.0.0.1 (DNS
rebinding), `KnownOrigin` those that post across origins.
"""

import hmac
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from evalqueue.http.callers import THIS_MACHINE, identify
from evalqueue.http.refusals import detail
from evalqueue.settings import Settings

CLOSED = "/api/"
"""What a token is needed for. The rest says nothing about anybody's work."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def token_of(settings: Settings) -> str | None:
    """The API token; a blank one is none."""
    token = "" if settings.api_token is None else settings.api_token.get_secret_value().strip()
    return token or None


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


class KnownHost:
    """Refuses requests to a name that is not this machine's."""

    def __init__(self, app: ASGIApp, *, own_names: Collection[str]) -> None:
        self._app = app
        self._own_names = frozenset(name.strip("[]").lower() for name in own_names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_known(Headers(scope=scope).get("host", "")):
            reply = detail(
                403,
                "The Host header does not name this machine. Call it by 127.0.0.1 or localhost; "
                "to serve under another name, set EVALQUEUE_API_TOKEN.",
            )
            await reply(scope, receive, send)
            return
        identify(scope, THIS_MACHINE)
        await self._app(scope, receive, send)

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and (name in self._own_names or is_loopback(name))


class KnownOrigin:
    """Refuses changes that a web page of another origin asks for."""

    def __init__(self, app: ASGIApp, *, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["method"] not in _SAFE_METHODS
            and not self._is_known(Headers(scope=scope))
        ):
            reply = detail(
                403,
                "Pages of this Origin may not change anything here. "
                "To allow them, add it to EVALQUEUE_CORS_ORIGINS.",
            )
            await reply(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_known(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return True  # no Origin: not a browser
        try:
            return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
        except ValueError:
            return False


class BearerToken:
    """Refuses requests to `CLOSED` without the token."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_closed(scope) and not self._has_token(scope):
            reply = detail(
                401,
                "This needs Authorization: Bearer <token>, the one in EVALQUEUE_API_TOKEN "
                "where the server runs.",
                {"WWW-Authenticate": 'Bearer realm="evalqueue"'},
            )
            await reply(scope, receive, send)
            return
        identify(scope, THIS_MACHINE)
        await self._app(scope, receive, send)

    def _has_token(self, scope: Scope) -> bool:
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        # Headers reads bytes as latin-1: this gives them back as they came.
        same = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
        return same and scheme.lower() == "bearer"


def _is_closed(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")).startswith(CLOSED)
