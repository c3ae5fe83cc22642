"""What a chatbot is: values that go in and out of one, and how a line to it can fail."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

TEXT_LIMIT = 50_000  # characters of an answer that are kept


class Fault(StrEnum):
    """How a line to a chatbot fails. None of these is anything that the bot has said."""

    UNREACHABLE = "unreachable"
    """No connection: nothing was sent."""
    HTTP_ERROR = "http_error"
    """A status that is no answer."""
    TIMEOUT = "timeout"
    """Nothing came for too long, or the answer had no end."""
    CONNECTION_LOST = "connection_lost"
    """The answer broke off."""
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    """Not what the protocol says."""


class ChatbotError(Exception):
    """There is no whole answer."""

    def __init__(
        self, fault: Fault, message: str, *, status: int | None = None, partial: str = ""
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        """For people; without the address's secrets and without tokens."""
        self.status = status
        """Of the HTTP response, if there was one."""
        self.partial = partial
        """What had come of the answer, at most TEXT_LIMIT characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A structured part of an answer that the user confirms by a tap instead of by words."""

    kind: str
    """As the bot names it, e.g. `food_card`."""
    data: Mapping[str, Any]
    shown: str
    """What a person sees of it, as text."""
    label: str
    """What is on its button, e.g. "Yes log this meal"."""
    confirmation: str
    """What the app sends when the button is tapped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One whole answer."""

    text: str
    """What a person reads: sentinels stripped, at most TEXT_LIMIT characters; may be empty."""
    intents: tuple[str, ...] = ()
    """The agents that the bot's router chose."""
    card: Card | None = None
    """The last card of a known kind; the app hides its text box until it is confirmed."""
    unsupported_cards: tuple[str, ...] = ()
    """Kinds of cards that nobody here knows; they are never confirmed."""
    error: str | None = None
    """What the bot itself reported as an error in place of an answer, or after part of one."""
    session: str | None = None
    response_id: str | None = None
    first_byte_ms: float | None = None
    duration_ms: float = 0.0

    @property
    def shown(self) -> str:
        """Everything a person sees of it."""
        parts = [self.text, self.card.shown if self.card else ""]
        return "\n\n".join(part for part in parts if part.strip())


class Chat(Protocol):
    """One live conversation."""

    async def say(self, text: str) -> Reply:
        """Say something and wait for the whole answer.

        Raises:
            ChatbotError: there is none.
        """
        ...


class Chatbot(Protocol):
    """One endpoint, spoken to with one credential: at most one conversation at a time."""

    @property
    def name(self) -> str:
        """Of its protocol, e.g. `kaira_v2`."""
        ...

    def chat(self) -> AbstractAsyncContextManager[Chat]:
        """A new conversation; whatever ended before has nothing to do with it.

        Leaving it, also by cancellation, breaks off an answer that still comes, and ends the
        session at the bot as far as its protocol has a way to.
        """
        ...

    async def aclose(self) -> None: ...
