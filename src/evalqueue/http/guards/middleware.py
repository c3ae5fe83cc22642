"""Who may call: each guard is a small ASGI middleware with one reason to say no.

Without a token the API is for this machine only. A web page from elsewhere can still make the
user's browser call it: `KnownHost` stops those that point a name of their own at 127.0.0.1 (DNS
rebinding), `KnownOrigin` those that post across origins.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from evalqueue.hosts import is_loopback
from evalqueue.http.callers import ANYBODY, THIS_MACHINE, Caller, identify, is_known
from evalqueue.http.error_responses import detail
from evalqueue.http.guards.rate_limits import TooMany
from evalqueue.http.guards.sessions import Door, cookie_of, install
from evalqueue.tokens import VARIABLE

CLOSED = "/api/"
"""What a token is needed for. The rest says nothing about anybody's work."""

SIGN_IN = ("POST", "/api/session")
"""The one thing there that a token is not needed for: it is where one is shown."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def is_closed(method: str, path: str) -> bool:
    """Whether a token is needed, where there are tokens."""
    return path.startswith(CLOSED) and (method, path) != SIGN_IN


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
                f"to serve under another name, set {VARIABLE}.",
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
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            headers = Headers(scope=scope)
            is_browser = "origin" in headers
            if is_browser and "*" not in self._origins and not _is_ours(headers, self._origins):
                await _foreign()(scope, receive, send)
                return
        await self._app(scope, receive, send)


class KnownCaller:
    """Finds out who calls, by the token in a header or else by the cookie of a sign-in.

    What a cookie says, the browser said without being asked: changes need an Origin besides, and
    it has to be ours or one that is named. A cookie that came by TLS is no good on a page without.
    """

    def __init__(self, app: ASGIApp, *, door: Door, origins: Collection[str]) -> None:
        self._app = app
        self._door = door
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = self._look(scope) if scope["type"] == "http" else None
        await (reply or self._app)(scope, receive, send)

    def _look(self, scope: Scope) -> ASGIApp | None:
        """Identify the caller if it can be done. Returns the refusal, if it has to be one."""
        install(scope, self._door)
        if not _needs_token(scope):
            identify(scope, ANYBODY)
            return None
        if (given := _bearer(scope)) is not None:
            try:
                token = self._door.token_of(given, scope)
            except TooMany as error:
                return detail(error.status_code, error.detail, error.headers)
        elif (cookie := cookie_of(scope)) is not None:
            value, is_secure = cookie
            token = self._door.session_of(value)
            if token is not None and not self._may_change(scope, is_secure=is_secure):
                return _foreign() if "origin" in Headers(scope=scope) else _unsaid()
        else:
            token = None
        if token is not None:
            identify(scope, Caller(name=token.name, right=token.right))
        return None

    def _may_change(self, scope: Scope, *, is_secure: bool) -> bool:
        if scope["method"] in _SAFE_METHODS:
            return True
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        return _is_ours(headers, self._origins) and origin.startswith(
            "https://" if is_secure else ""
        )


class Admitted:
    """Refuses whoever is not known what a token is needed for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_known(scope):
            reply = detail(
                401,
                f"This needs Authorization: Bearer <token>, one of {VARIABLE} where the server "
                "runs, or a sign-in of the last 12 hours.",
                {"WWW-Authenticate": 'Bearer realm="evalqueue"'},
            )
            await reply(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _foreign() -> ASGIApp:
    return detail(
        403,
        "Pages of this Origin may not change anything here. "
        "To allow them, add it to EVALQUEUE_CORS_ORIGINS.",
    )


def _unsaid() -> ASGIApp:
    return detail(
        403,
        "A change by a sign-in needs the header Origin, as browsers send it. "
        "Programs send the token itself: Authorization: Bearer <token>.",
    )


def _is_ours(headers: Headers, origins: Collection[str]) -> bool:
    origin = headers.get("origin", "")
    if origin in origins:
        return True
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
    except ValueError:
        return False


def _bearer(scope: Scope) -> bytes | None:
    scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
    # Headers reads bytes as latin-1: this gives them back as they came.
    return given.strip().encode("latin-1") if scheme.lower() == "bearer" else None


def _needs_token(scope: Scope) -> bool:
    path: str = scope["path"]
    return is_closed(scope["method"], path.removeprefix(scope.get("root_path", "")))
