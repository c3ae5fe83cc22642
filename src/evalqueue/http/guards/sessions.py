"""Tokens, and the session cookies that the page gets for them.

A cookie holds the name of its token and the time it was made, signed with the token's hash. So
every process accepts it and restarts don't end it, but removing the token does: then no key is left
that verifies the signature.
"""

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import HTTPConnection
from starlette.types import Scope

from evalqueue.http.callers import address_of
from evalqueue.http.guards.rate_limits import RateLimiter, TooManyRequests
from evalqueue.http.guards.root_path import root_path_of
from evalqueue.settings import Rate
from evalqueue.tokens import Token, digest_of

SESSION_SECONDS = 12 * 60 * 60
COOKIE = "evalqueue_session"
SECURE_COOKIE = "__Host-evalqueue_session"
"""The cookie's name over TLS. Browsers accept this prefix only from the host itself, for all of its
paths."""
SECURE_COOKIE_OF_PATH = "__Secure-evalqueue_session"
"""Its name where the application is served under a path: other paths may be other programs'."""

GUESSES = Rate(amount=20, seconds=60)
"""How many different wrong tokens one address may send. Repeating one is no new guess, so that a
program with an outdated token does not lock out others at its address."""

_KEY = "evalqueue.authenticator"


class Authenticator:
    """Finds the token that a caller has, by the token itself or by a session cookie."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tuple(tokens)
        self._signers = [(token, _signer(token)) for token in tokens]
        self._guesses = RateLimiter(GUESSES)
        self._repeated_guesses = RateLimiter(Rate(amount=1, seconds=GUESSES.seconds))

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
        if wait := self._guesses.wait_seconds(address):
            raise TooManyRequests("Too many wrong tokens came from here. Wait.", wait)
        if not self._repeated_guesses.hit((address, digest)):
            self._guesses.hit(address)
        return None

    def token_of_session(self, cookie: str) -> Token | None:
        """The token that a cookie was made for; None: it has expired or is not valid."""
        for token, signer in self._signers:
            try:
                if signer.loads(cookie, max_age=SESSION_SECONDS) == token.name:
                    return token
            except BadData:
                continue
        return None

    def cookie_for(self, token: Token) -> str:
        """The value of a new session cookie."""
        return str(_signer(token).dumps(token.name))


def _signer(token: Token) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(
        token.digest,
        salt=COOKIE,
        signer_kwargs={"key_derivation": "hmac", "digest_method": sha256},
    )


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
