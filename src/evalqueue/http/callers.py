"""Callers, their rights, and their shares of what is slow.

A guard identifies the caller and stores it in the request's scope; operations read it from
`RequestContext`.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.types import Scope

from evalqueue.client import Client
from evalqueue.errors import Problem
from evalqueue.evaluators.results import rows, text_search
from evalqueue.evaluators.runs.reading import ThreadFilter
from evalqueue.http.events.broadcaster import Broadcaster
from evalqueue.http.uploads import InvalidRequest
from evalqueue.postgres.database import Connection
from evalqueue.tokens import Right

_KEY = "evalqueue.caller"
SEARCHES_MAX = 2  # of all callers of one process at the same time
SEARCH_SECONDS = 5.0
_IPV6_PREFIX = 64  # bits: the smallest network that a provider gives to one customer


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCaller:
    """The program or person that sent a request."""

    name: str
    """The owner of the jobs they submit."""
    right: Right

    @property
    def visible_owner(self) -> str | None:
        """The owner whose jobs and runs this caller may see; None: all owners."""
        return None if self.right is Right.ADMIN else self.name


LOCAL_CALLER = ApiCaller(name="default", right=Right.ADMIN)
"""The caller of an API that needs no token."""

ANONYMOUS = ApiCaller(name="anonymous", right=Right.READ)
"""A caller without a token, of operations that need none and show no owner's data."""


class SearchShares:
    """Lets searches through texts wait for each other: one of each caller, and few of all.

    A search reads all messages of a run's conversations. Without shares, one caller's searches
    would take all connections to the database from other requests.
    """

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(SEARCHES_MAX)
        self._of_callers: dict[str, asyncio.Semaphore] = {}
        self._wanted: dict[str, int] = {}

    @asynccontextmanager
    async def turn(self, caller: ApiCaller) -> AsyncGenerator[None]:
        """Wait until this caller may search."""
        name = caller.name
        own = self._of_callers.setdefault(name, asyncio.Semaphore(1))
        self._wanted[name] = self._wanted.get(name, 0) + 1
        try:
            async with own, self._all:
                yield
        finally:
            self._wanted[name] -= 1
            if not self._wanted[name]:
                del self._wanted[name], self._of_callers[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What a handler works with besides the request itself."""

    client: Client
    caller: ApiCaller
    broadcaster: Broadcaster
    searches: SearchShares = field(default_factory=SearchShares)
    scope: Scope = field(default_factory=dict[str, Any])
    """The ASGI scope, for the few handlers that need more than their request model."""
    cookies: list[str] = field(default_factory=list[str])
    """Values of `Set-Cookie` for the response."""

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """A connection to the database."""
        database = await self.client.database()
        async with database.connection() as connection:
            yield connection

    async def threads_in_which(self, run_id: UUID, text: str | None) -> dict[str, str] | None:
        """The threads of a run that contain a text, each with the words around it; None: nothing
        was to be searched for.

        Raises:
            InvalidRequest: the search took too long.
        """
        if text is None:
            return None
        owner = self.caller.visible_owner
        async with self.searches.turn(self.caller), self.connection() as connection:
            try:
                return await text_search.threads_in_which(
                    connection, run_id, text, owner=owner, max_seconds=SEARCH_SECONDS
                )
            except text_search.SearchTooSlow as error:
                raise InvalidRequest([Problem(loc=("query", "text"), msg=str(error))]) from error

    async def measured(self, run_id: UUID, where: ThreadFilter) -> ThreadFilter:
        """A filter by scores of a run, which measures them.

        Raises:
            InvalidRequest: it has no such evaluator or score.
        """
        if where.evaluator is None and where.name is None:
            return where
        owner = self.caller.visible_owner
        async with self.connection() as connection:
            try:
                await rows.refuse_unmeasured(connection, run_id, where, owner=owner)
            except rows.UnknownScore as error:
                loc = ("query", error.field)
                raise InvalidRequest([Problem(loc=loc, msg=str(error))]) from error
        return where

    def require(self, right: Right) -> None:
        """Check that the caller has a right.

        Raises:
            HTTPException: 403.
        """
        if not self.caller.right.covers(right):
            name, has = self.caller.name, self.caller.right
            raise HTTPException(403, f"This needs the right {right}; {name} has the right {has}")


def identify(scope: Scope, caller: ApiCaller) -> None:
    """Store the caller of a request."""
    scope[_KEY] = caller


def caller_of(scope: Scope) -> ApiCaller:
    """The caller that a guard has identified."""
    caller: ApiCaller = scope[_KEY]
    return caller


def is_identified(scope: Scope) -> bool:
    """Whether a guard has identified the caller."""
    return _KEY in scope


def address_of(scope: Scope) -> str:
    """The address a request comes from. All addresses of an IPv6 network count as one caller."""
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
