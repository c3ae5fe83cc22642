"""Who calls, and what they may do.

A guard finds out who it is and puts it into the request's scope; an operation asks `Call` for it.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Scope

from evalqueue.client import Client
from evalqueue.http.events.broadcaster import Broadcaster
from evalqueue.tokens import Right

_KEY = "evalqueue.caller"
_IPV6_PREFIX = 64  # bits: what a provider gives to one customer at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls."""

    name: str
    """The owner of what they submit."""
    right: Right

    @property
    def sees(self) -> str | None:
        """The owner whose jobs and runs this caller sees; None: everybody's."""
        return None if self.right is Right.ADMIN else self.name


THIS_MACHINE = Caller(name="default", right=Right.ADMIN)
"""Whoever calls an API that needs no token."""

ANYBODY = Caller(name="anybody", right=Right.READ)
"""Whoever calls, without a token, what needs none: nothing there is anybody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What an operation works with: the client and the bulletin of this process, and who asks."""

    client: Client
    caller: Caller
    broadcaster: Broadcaster
    scope: Scope = field(default_factory=dict[str, Any])
    """The request, for the few that look at more than what they ask."""
    cookies: list[str] = field(default_factory=list[str])
    """What an operation has the browser keep: values of `Set-Cookie`."""

    def must_have(self, right: Right) -> None:
        """Go on only if the caller has a right.

        Raises:
            HTTPException: 403.
        """
        if not self.caller.right.covers(right):
            name, has = self.caller.name, self.caller.right
            raise HTTPException(403, f"This needs the right {right}; {name} has the right {has}")


def identify(scope: Scope, caller: Caller) -> None:
    """Say who it is that calls."""
    scope[_KEY] = caller


def caller_of(scope: Scope) -> Caller:
    """Who it is that calls, as a guard has found out."""
    caller: Caller = scope[_KEY]
    return caller


def is_known(scope: Scope) -> bool:
    """Whether a guard has found out who calls."""
    return _KEY in scope


def address_of(scope: Scope) -> str:
    """Where a request comes from, as far as it is one caller's: an IPv6 network is one place."""
    client: tuple[str, int] | None = scope.get("client")
    if client is None:
        return "?"
    try:
        address = ip_address(client[0].partition("%")[0])
    except ValueError:
        return client[0]
    if isinstance(address, IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ip_network((address, _IPV6_PREFIX), strict=False))
