"""The interface of a chatbot: its inputs and outputs, and how a connection to it can fail."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

TEXT_LIMIT = 50_000  # characters of an answer that are stored


class Fault(StrEnum):
    """How a connection to a chatbot fails. None of these is an answer of the bot."""

    UNREACHABLE = "unreachable"
    """No connection: nothing was sent."""
    HTTP_ERROR = "http_error"
    """An HTTP status other than success."""
    TIMEOUT = "timeout"
    """No data for too long, or an answer without an end."""
    CONNECTION_LOST = "connection_lost"
    """The answer broke off."""
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    """The answer violates the protocol."""


class ChatbotError(Exception):
    """There is no whole answer."""

    def __init__(
        self,
        fault: Fault,
        message: str,
        *,
        quote: str = "",
        status: int | None = None,
        partial: str = "",
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        """For people. It contains no secrets of the address, no tokens, and nothing that the
        endpoint sent."""
        self.quote = quote
        """What the endpoint sent instead of an answer, without the token. Only administrators see
        it: a caller may have aimed at what is no chatbot."""
        self.status = status
        """Of the HTTP response, if there was one."""
        self.partial = partial
        """The part of the answer that was received, at most TEXT_LIMIT characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A structured part of an answer that the user confirms by a tap instead of by words."""

    kind: str
    """The bot's name for the kind of card, e.g. `food_card`."""
    data: Mapping[str, Any]
    shown: str
    """The text that a person sees."""
    label: str
    """The text on its button, e.g. "Yes log this meal"."""
    confirmation: str
    """The message that the app sends when the button is tapped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One whole answer."""

    text: str
    """The text that a person reads, without sentinels, at most TEXT_LIMIT characters. May be empty.
    """
    intents: tuple[str, ...] = ()
    """The agents that the bot's router chose."""
    card: Card | None = None
    """The last card of a known kind. The app hides its text box until the card is confirmed."""
    unsupported_cards: tuple[str, ...] = ()
    """Unknown kinds of cards. They are never confirmed."""
    error: str | None = None
    """An error that the bot itself reported, instead of an answer or after part of one."""
    session: str | None = None
    response_id: str | None = None
    first_byte_ms: float | None = None
    duration_ms: float = 0.0

    @property
    def shown(self) -> str:
        """Everything that a person sees."""
        parts = [self.text, self.card.shown if self.card else ""]
        return "\n\n".join(part for part in parts if part.strip())


class Chat(Protocol):
    """One live conversation."""

    async def say(self, text: str) -> Reply:
        """Send a message and wait for the whole answer.

        Raises:
            ChatbotError: there is no whole answer.
        """
        ...


class Chatbot(Protocol):
    """One endpoint with one credential: at most one conversation at a time."""

    @property
    def name(self) -> str:
        """The name of its protocol, e.g. `kaira_v2`."""
        ...

    @property
    def has_sessions(self) -> bool:
        """Whether the bot remembers conversations, so that one user's must not overlap."""
        ...

    def chat(self) -> AbstractAsyncContextManager[Chat]:
        """A new conversation, independent of earlier ones.

        Leaving the context, also by cancellation, aborts an answer in progress, and ends the
        session at the bot if the protocol allows it.
        """
        ...

    async def aclose(self) -> None: ...
