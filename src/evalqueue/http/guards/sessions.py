"""Signing in: the page trades a token for a cookie that its scripts can't read.

The cookie says a name and when it was made, signed with the hash of the token that was shown. So
every process knows it, restarts don't end it, and it ends with the token: when the entry is taken
out of the variable, nothing checks its signature any more.
"""

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import Literal

from itsdangerous import BadData, URLSafeTimedSerializer
from pydantic import Field, TypeAdapter
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import Scope

from evalqueue.http.callers import Call, Caller, address_of
from evalqueue.http.guards.rate_limits import Pace, TooMany
from evalqueue.http.models.jobs import Model
from evalqueue.http.operations import AnyOperation, Nothing, Operation
from evalqueue.settings import Rate
from evalqueue.tokens import VARIABLE, Right, Token, digest_of

SESSION_SECONDS = 12 * 60 * 60
COOKIE = "evalqueue_session"
SECURE_COOKIE = "__Host-evalqueue_session"
"""Its name where the page came by TLS: a browser takes this one from nobody else."""

GUESSES = Rate(amount=20, seconds=60)
"""Different wrong tokens that may come from one address. One that comes again is no new guess: a
program that was left with an old token locks nobody out."""

NOT_KNOWN = f"This token is none of {VARIABLE} where the server runs."

_DOOR = "evalqueue.door"
_MAX_TOKEN = 1000  # characters


class Door:
    """Knows the holders of tokens, by their tokens or by the cookies they got for these."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tuple(tokens)
        self._signers = [(token, _signer(token)) for token in tokens]
        self._guesses = Pace(GUESSES)
        self._guessed = Pace(Rate(amount=1, seconds=GUESSES.seconds))

    def token_of(self, given: bytes, scope: Scope) -> Token | None:
        """The token that somebody has shown.

        Raises:
            TooMany: too many others came from there; this one was not looked at.
        """
        address = address_of(scope)
        if wait := self._guesses.wait(address):
            raise TooMany("Too many wrong tokens came from here. Wait.", wait)
        digest = digest_of(given)
        found = None
        for token in self._tokens:  # all of them, always: time says nothing about which
            if compare_digest(token.digest, digest):
                found = token
        if found is None and not self._guessed.hit((address, digest)):
            self._guesses.hit(address)
        return found

    def session_of(self, cookie: str) -> Token | None:
        """The token that a cookie was given for; None: it is old, or not ours."""
        for token, signer in self._signers:
            try:
                if signer.loads(cookie, max_age=SESSION_SECONDS) == token.name:
                    return token
            except BadData:
                continue
        return None

    def cookie_for(self, token: Token) -> str:
        """What is kept of a sign-in."""
        return str(_signer(token).dumps(token.name))


def _signer(token: Token) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(
        token.digest,
        salt=COOKIE,
        signer_kwargs={"key_derivation": "hmac", "digest_method": sha256},
    )


def install(scope: Scope, door: Door) -> None:
    """Let operations know the door."""
    scope[_DOOR] = door


def cookie_of(scope: Scope) -> tuple[str, bool] | None:
    """The cookie of a sign-in, and whether it came by TLS."""
    cookies = HTTPConnection(scope).cookies
    for name in (SECURE_COOKIE, COOKIE):
        if name in cookies:
            return cookies[name], name == SECURE_COOKIE
    return None


class SignIn(Model):
    """A token, to be traded for a cookie."""

    token: str = Field(min_length=1, max_length=_MAX_TOKEN)


class Session(Model):
    """Who calls."""

    name: str
    """The owner of what they submit."""
    right: Right
    needs_token: bool
    """Whether the API asks for a token at all."""

    @classmethod
    def of(cls, caller: Caller, *, needs_token: bool) -> "Session":
        return cls(name=caller.name, right=caller.right, needs_token=needs_token)


class SignedOut(Model):
    """The browser forgets the cookie. One that was copied before holds until it is 12 h old."""

    signed_out: Literal[True] = True


async def get_session(call: Call, _asked: Nothing) -> Session:
    return Session.of(call.caller, needs_token=_DOOR in call.scope)


async def sign_in(call: Call, asked: SignIn) -> Session:
    door: Door | None = call.scope.get(_DOOR)
    if door is None:
        return Session.of(call.caller, needs_token=False)
    token = door.token_of(asked.token.strip().encode(), call.scope)
    if token is None:
        raise HTTPException(401, NOT_KNOWN)
    origin = Headers(scope=call.scope).get("origin", "")
    call.cookies.append(
        _kept(door.cookie_for(token), SESSION_SECONDS, secure=origin.startswith("https://"))
    )
    return Session.of(Caller(name=token.name, right=token.right), needs_token=True)


async def sign_out(call: Call, _asked: Nothing) -> SignedOut:
    call.cookies.extend(_kept("", 0, secure=secure) for secure in (False, True))
    return SignedOut()


def _kept(value: str, seconds: int, *, secure: bool) -> str:
    name = SECURE_COOKIE if secure else COOKIE
    kept = f"{name}={value}; HttpOnly; Max-Age={seconds}; Path=/; SameSite=Strict"
    return f"{kept}; Secure" if secure else kept


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/api/session",
        tag="session",
        summary="Who I am here, and what I may do",
        asks=Nothing,
        tells=TypeAdapter(Session),
        answer=get_session,
    ),
    Operation(
        method="POST",
        path="/api/session",
        tag="session",
        summary="Sign in: trade a token for a cookie, for pages",
        asks=SignIn,
        in_body=True,
        tells=TypeAdapter(Session),
        answer=sign_in,
        needs=Right.READ,
        errors=(401,),
    ),
    Operation(
        method="DELETE",
        path="/api/session",
        tag="session",
        summary="Sign out: the browser forgets the cookie",
        asks=Nothing,
        tells=TypeAdapter(SignedOut),
        answer=sign_out,
        needs=Right.READ,
    ),
)
