"""Sessions of the page: a row each, so that signing out ends it in every process.

The browser has a random secret as a cookie, and the row the secret's hash. The session of a token
has the name and the right that the server's settings give this token now, and ends with its entry.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from starlette.requests import HTTPConnection
from starlette.types import Scope

from evalqueue.client import Client
from evalqueue.http.callers import ApiCaller, address_of
from evalqueue.http.guards.rate_limits import GuessLimit, TooManyRequests
from evalqueue.http.guards.root_path import root_path_of
from evalqueue.postgres.queries import load
from evalqueue.settings import Rate
from evalqueue.tokens import Right, Token, digest_of

QUERIES = load("queue/sign_ins")

SESSION_SECONDS = 12 * 60 * 60
SESSIONS_MAX = 100
"""Of one caller at the same time. A further sign-in ends the oldest one."""
SECRET_BYTES = 32
COOKIE = "evalqueue_session"
SECURE_COOKIE = "__Host-evalqueue_session"
"""The cookie's name over TLS. Browsers accept this prefix only from the host itself, for all of its
paths."""
SECURE_COOKIE_OF_PATH = "__Secure-evalqueue_session"
"""Its name where the application is served under a path: other paths may be other programs'."""

GUESSES = Rate(amount=20, seconds=60)
"""How many different wrong tokens one address may send."""

_KEY = "evalqueue.authenticator"
_COOKIE_MAX = 200  # characters; longer ones are not looked up


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """A session that is not over."""

    name: str
    permission: str
    token: bytes | None


class Authenticator:
    """Finds out who calls, by a token or by a session's cookie."""

    def __init__(self, client: Client, tokens: Sequence[Token]) -> None:
        self._client = client
        self._tokens = tuple(tokens)
        self._guesses = GuessLimit(GUESSES)

    def token_of(self, shown: bytes, scope: Scope) -> Token | None:
        """The token that a request shows; None: it is not valid.

        Raises:
            TooManyRequests: it is wrong, and so were too many from its address. A right one is let
                in: behind one address there may be many callers.
        """
        address = address_of(scope)
        digest = digest_of(shown)
        valid = None
        for token in self._tokens:  # always all of them: the time must not depend on which matches
            if compare_digest(token.digest, digest):
                valid = token
        if valid is not None:
            return valid
        if wait := self._guesses.wrong(address, digest):
            raise TooManyRequests("Too many wrong tokens came from here. Wait.", wait)
        return None

    async def caller_of(self, cookie: str) -> ApiCaller | None:
        """Who signed in and got this cookie; None: the session is over, or there is none."""
        if not cookie or len(cookie) > _COOKIE_MAX:
            return None
        database = await self._client.database()
        async with database.connection() as connection:
            found = await QUERIES.row(
                connection, StoredSession, "current", digest=_digest_of(cookie)
            )
        if found is None:
            return None
        if found.token is None:
            return ApiCaller(name=found.name, right=Right(found.permission))
        for token in self._tokens:
            if token.name == found.name and compare_digest(_named(token), found.token):
                return ApiCaller(name=token.name, right=token.right)
        return None

    async def start(self, caller: ApiCaller, token: Token | None = None) -> str:
        """Start a session; the value of its cookie.

        Args:
            token: the one that was shown; without it, the caller came by single sign-on.
        """
        secret = secrets.token_urlsafe(SECRET_BYTES)
        database = await self._client.database()
        async with database.connection() as connection:
            await connection.execute(
                QUERIES["start"],
                {
                    "digest": _digest_of(secret), "name": caller.name, "permission": caller.right,
                    "token": None if token is None else _named(token),
                    "seconds": SESSION_SECONDS, "at_most": SESSIONS_MAX - 1,
                },
            )  # fmt: skip
        return secret

    async def end(self, cookie: str) -> None:
        """End a session, in every process."""
        database = await self._client.database()
        async with database.connection() as connection:
            await connection.execute(QUERIES["end"], {"digest": _digest_of(cookie)})


def _digest_of(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _named(token: Token) -> bytes:
    """What a session's row has of a token. It does not sign in."""
    return sha256(token.digest).digest()


def install(scope: Scope, authenticator: Authenticator) -> None:
    """Make the authenticator available to operations."""
    scope[_KEY] = authenticator


def authenticator_of(scope: Scope) -> Authenticator | None:
    """The server's authenticator; None: the API needs no token."""
    authenticator: Authenticator | None = scope.get(_KEY)
    return authenticator


def cookie_of(scope: Scope) -> tuple[str, bool] | None:
    """The session cookie of a request, and whether it was set over TLS."""
    cookies = HTTPConnection(scope).cookies
    for name in (secure_cookie(root_path_of(scope)), COOKIE):
        if name in cookies:
            return cookies[name], name != COOKIE
    return None


def secure_cookie(root_path: str) -> str:
    """The cookie's name over TLS."""
    return SECURE_COOKIE_OF_PATH if root_path else SECURE_COOKIE


def set_cookie(value: str, max_age_seconds: int, *, secure: bool, root_path: str) -> str:
    """A `Set-Cookie` header for a session."""
    name = secure_cookie(root_path) if secure else COOKIE
    cookie = (
        f"{name}={value}; HttpOnly; Max-Age={max_age_seconds}; Path={root_path}/; SameSite=Strict"
    )
    return f"{cookie}; Secure" if secure else cookie
