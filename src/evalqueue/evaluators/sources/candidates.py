"""Conversations that a source has, before they are read, and how every source is read."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

from evalqueue.errors import EvalqueueError
from evalqueue.evaluators.datasets.masks import Masks
from evalqueue.evaluators.sources.sampling import Candidate
from evalqueue.postgres.database import Connection


class SourceError(EvalqueueError):
    """A source can't be read as it is. Says what to change."""


class SourceUnavailable(SourceError):
    """The database of a source did not answer, or not in time. It may later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a source was read: up to this conversation."""

    last_at: datetime
    """When its last message was sent; of posted conversations, when it came."""
    thread_id: str = ""
    """Conversations that ended in the same moment are ordered by their ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedConversation:
    """A conversation that has ended."""

    candidate: Candidate
    position: Position
    key: object
    """Its id, of the type that the relation has; of a posted one, its number of messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Which conversations of a source are read."""

    settle_minutes: float
    """So long without a message ends one."""
    since: datetime | None = None
    """Its last message was not before this."""
    until: datetime | None = None
    """Its last message was before this."""
    app_id: str | None = None
    """It was posted for this app."""


class OpenSource(Protocol):
    """The conversations of one source."""

    @property
    def mapping(self) -> Mapping[str, str] | None:
        """How the lines that `write` writes are read."""
        ...

    @property
    def masks(self) -> Masks: ...

    @property
    def total(self) -> int:
        """How many conversations `ended` yields. Known once it has begun."""
        ...

    def ended(self, after: Position, *, page: int) -> AsyncGenerator[Sequence[EndedConversation]]:
        """The settled conversations after a position, in pages, in the order of their ends.

        Raises:
            SourceError: they can't be read.
        """
        ...

    async def write(self, file: BinaryIO, conversations: Sequence[EndedConversation]) -> list[str]:
        """Write conversations as JSON lines. Returns the conversation of each line.

        Raises:
            SourceError: they can't be read.
        """
        ...

    async def mark(
        self, connection: Connection, conversations: Sequence[EndedConversation]
    ) -> None:
        """Note, in the transaction that moves the position, that these were read."""
        ...
