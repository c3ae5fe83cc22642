"""Who calls, and what they may do.

A guard finds out who it is and puts it into the request's scope; an operation asks `Call` for it.
"""

from dataclasses import dataclass
from enum import StrEnum

from starlette.types import Scope

from evalqueue.client import Client

_KEY = "evalqueue.caller"


class Right(StrEnum):
    """What a caller may do; each may also do what those before it may."""

    READ = "read"
    """Look at what is one's own."""
    SUBMIT = "submit"
    """Submit jobs, and do with them what one likes."""
    ADMIN = "admin"
    """Everything, also with what is others'."""

    def covers(self, needed: "Right") -> bool:
        return _ORDER.index(self) >= _ORDER.index(needed)


_ORDER = list(Right)


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
"""Whoever calls where no token is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What an operation works with: the client of this process, and who asks."""

    client: Client
    caller: Caller


def identify(scope: Scope, caller: Caller) -> None:
    """Say who it is that calls."""
    scope[_KEY] = caller


def caller_of(scope: Scope) -> Caller:
    """Who it is that calls, as a guard has found out."""
    caller: Caller = scope[_KEY]
    return caller
