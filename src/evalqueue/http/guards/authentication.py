"""Authentication: who calls, by the token in a header or by the cookie of a sign-in."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from evalqueue.http.callers import ANONYMOUS, ApiCaller, identify, is_identified
from evalqueue.http.error_responses import EXPECTED_ERRORS, detail_response, error_response
from evalqueue.http.guards.origins import SAFE_METHODS, is_allowed_origin, origin_refused
from evalqueue.http.guards.root_path import path_of
from evalqueue.http.guards.sessions import Authenticator, cookie_of, install
from evalqueue.tokens import VARIABLE

PROTECTED_PREFIX = "/api/"
METRICS_PATH = "/metrics"
"""Paths that need a token. All others show no owner's data."""

SIGN_IN = ("POST", "/api/session")
"""The one operation there that needs no token, because it takes one."""


def requires_token(method: str, path: str) -> bool:
    """Whether a request needs a token, on a server that has tokens."""
    is_protected = path.startswith(PROTECTED_PREFIX) or path == METRICS_PATH
    return is_protected and (method, path) != SIGN_IN


class Authentication:
    """Identifies the caller, by the token in a header or else by the cookie of a sign-in.

    Browsers send cookies without being asked. With a cookie, changes therefore need an Origin
    header that names this server or an allowed origin. A cookie that was set over TLS is not
    accepted from a page without TLS.
    """

    def __init__(
        self, app: ASGIApp, *, authenticator: Authenticator, origins: Collection[str]
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = await self._identify(scope) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, send)

    async def _identify(self, scope: Scope) -> ASGIApp | None:
        """Identify the caller if possible. Returns an error response if the request is refused."""
        install(scope, self._authenticator)
        if not _needs_token(scope):
            identify(scope, ANONYMOUS)
            return None
        try:
            if (shown := _bearer(scope)) is not None:
                token = self._authenticator.token_of(shown, scope)
                caller = token and ApiCaller(name=token.name, right=token.right)
            elif (cookie := cookie_of(scope)) is not None:
                value, is_secure = cookie
                caller = await self._authenticator.caller_of(value)
                if caller is not None and not self._may_change(scope, is_secure=is_secure):
                    has_origin = "origin" in Headers(scope=scope)
                    return origin_refused() if has_origin else _origin_missing()
            else:
                caller = None
        except EXPECTED_ERRORS as error:  # too many guesses, or the database does not answer
            return await error_response(Request(scope), error)
        if caller is not None:
            identify(scope, caller)
        return None

    def _may_change(self, scope: Scope, *, is_secure: bool) -> bool:
        if scope["method"] in SAFE_METHODS:
            return True
        headers = Headers(scope=scope)
        scheme = "https://" if is_secure else ""
        return is_allowed_origin(headers, self._origins) and headers.get("origin", "").startswith(
            scheme
        )


class RequireCaller:
    """Refuses with 401 requests whose caller is not identified."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_identified(scope):
            response = detail_response(
                401,
                f"This needs Authorization: Bearer <token>, one of {VARIABLE} where the server "
                "runs, or a sign-in of the last 12 hours.",
                {"WWW-Authenticate": 'Bearer realm="evalqueue"'},
            )
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _origin_missing() -> ASGIApp:
    return detail_response(
        403,
        "A change by a sign-in needs the header Origin, as browsers send it. "
        "Programs send the token itself: Authorization: Bearer <token>.",
    )


def _bearer(scope: Scope) -> bytes | None:
    scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
    # Headers decodes bytes as latin-1: this restores them.
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else None


def _needs_token(scope: Scope) -> bool:
    return requires_token(scope["method"], path_of(scope))
