"""Who changes something, for the audit log.

An actor holds for the task that sets it and those that it starts. Statements that change something
pass it to the database, which records it in the same transaction.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from evalqueue import codec

MAX_NAME = 200  # characters, the table's CHECK


class Door(StrEnum):
    """By which way a change came."""

    HTTP = "http"
    CLI = "cli"
    LIBRARY = "library"
    WORKER = "worker"
    """Retention, and schedules whose jobs can't be submitted."""
    SQL = "sql"
    """A statement of another program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The program or person that changes something."""

    door: Door
    name: str = ""
    """What it calls itself. Empty: as its database role."""


_LIBRARY = Actor(door=Door.LIBRARY)
_current: ContextVar[Actor] = ContextVar("evalqueue.actor", default=_LIBRARY)


def setting() -> str:
    """The current actor as the value of the setting `evalqueue.actor`: a door and a name."""
    actor = _current.get()
    return f"{actor.door} {codec.clean_text(' '.join(actor.name.split()), limit=MAX_NAME)}".strip()


def act_as(actor: Actor) -> None:
    """Set the actor of this task from now on."""
    _current.set(actor)


@contextmanager
def acting(actor: Actor) -> Generator[None]:
    """Set the actor of this task for as long as the context lasts."""
    before = _current.set(actor)
    try:
        yield
    finally:
        _current.reset(before)
