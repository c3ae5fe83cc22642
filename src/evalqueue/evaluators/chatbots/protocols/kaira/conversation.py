"""What both protocols of Kaira share: the course of a conversation, and when an answer is complete.

Kaira ends a session only when the next one begins. Leaving a chat aborts the answer in progress,
and the first message of the next chat ends the session at the bot.
"""

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from evalqueue.evaluators.chatbots.protocol import Card, ChatbotError, Fault, Reply
from evalqueue.evaluators.chatbots.protocols.kaira.cards import read_card, without_sentinels
from evalqueue.evaluators.chatbots.protocols.kaira.events import Chunk, Events
from evalqueue.evaluators.chatbots.targets import Credential, Target, TargetRefused
from evalqueue.evaluators.chatbots.transport import StreamLine, StreamLines

_AFTERTHOUGHT_SECONDS = 2.0  # how long a stream may go on after the bot has said that it is over
_MOST_NAMES = 20  # intents, unknown kinds of cards
_NAME_LIMIT = 200  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """The ids that continue a conversation, from the bot."""

    session_id: str
    thread_id: str = ""
    """Version 1 only."""


@dataclass(slots=True, kw_only=True)
class ReplyDraft:
    """The parts of an answer that were received."""

    pieces: list[str] = field(default_factory=list[str])
    whole: str | None = None
    """The answer in one piece, in place of the pieces."""
    is_complete: bool = False
    """The answer is complete if the stream ends here."""
    is_over: bool = False
    """The bot has announced the end of the answer."""
    error: str | None = None
    failure: str | None = None
    """Why a part of the bot failed. It counts as an error if there is no answer otherwise."""
    intents: Sequence[str] = ()
    card: Card | None = None
    unsupported_cards: list[str] = field(default_factory=list[str])
    place: SessionState | None = None
    response_id: str | None = None
    first_line_at: float | None = None

    @property
    def text(self) -> str:
        return without_sentinels("".join(self.pieces) if self.whole is None else self.whole)

    @property
    def is_beyond_harm(self) -> bool:
        """Whether the answer is valid even if the connection fails from now on."""
        return self.is_over or self.whole is not None or self.error is not None

    def take_card(self, kind: str, data: Any) -> None:
        """Store a card: the last one of a known kind, and the names of unknown kinds."""
        card = read_card(kind, data)
        if card is None:
            self.unsupported_cards.append(kind)
        else:
            self.card = card


class Kaira(ABC):
    """One endpoint of Kaira, as one of its users."""

    name: ClassVar[str]
    has_sessions = True
    path: ClassVar[str]

    def __init__(self, target: Target, credential: Credential | None) -> None:
        """
        Raises:
            TargetRefused: there is no credential, or it belongs to another host.
        """
        if credential is None:
            raise TargetRefused(
                f"A chatbot of protocol {self.name} needs a credential: name one that is in "
                "EVALQUEUE_CHATBOT_CREDENTIALS where the API and the workers run."
            )
        self.line = StreamLine(target, credential)
        self.user_id = credential.user_id
        self.headers = {"Accept": "*/*", "token": credential.token.get_secret_value()}
        self._one_at_a_time = asyncio.Lock()

    @asynccontextmanager
    async def chat(self) -> "AsyncGenerator[KairaChat]":
        """A new conversation. Waits until the previous one is left: a user has one at a time."""
        async with self._one_at_a_time:
            yield KairaChat(self)

    async def aclose(self) -> None:
        await self.line.aclose()

    @abstractmethod
    def request(self, text: str, place: SessionState | None) -> dict[str, Any]:
        """The JSON of a message. Without a place it begins a conversation and ends the previous
        one."""

    @abstractmethod
    def take(self, chunk: Chunk, draft: ReplyDraft) -> None:
        """Add a chunk to the answer."""


class KairaChat:
    """One conversation."""

    def __init__(self, kaira: Kaira) -> None:
        self._kaira = kaira
        self._place: SessionState | None = None
        self._is_lost = False

    async def say(self, text: str) -> Reply:
        if self._is_lost:
            raise ChatbotError(
                Fault.UNREADABLE, "Kaira's first answer named no session to go on with"
            )
        began = time.perf_counter()
        draft = await self._answer(self._kaira.request(text, self._place))
        # The ids of the first answer identify the conversation. An error may have no ids: then
        # there is no conversation yet, and the next message begins one.
        self._place = self._place or draft.place
        self._is_lost = self._place is None and draft.error is None
        first_line_at = draft.first_line_at
        return Reply(
            text=self._kaira.line.storable(draft.text),
            intents=self._names(draft.intents),
            card=draft.card,
            unsupported_cards=self._names(draft.unsupported_cards),
            error=self._error(draft),
            session=self._name(self._place.session_id if self._place else None),
            response_id=self._name(draft.response_id),
            first_byte_ms=None if first_line_at is None else (first_line_at - began) * 1000,
            duration_ms=(time.perf_counter() - began) * 1000,
        )

    async def _answer(self, request: dict[str, Any]) -> ReplyDraft:
        """A whole answer.

        Raises:
            ChatbotError: there is no whole answer.
        """
        kaira, draft, events = self._kaira, ReplyDraft(), Events()
        try:
            async with kaira.line.stream(kaira.path, request, kaira.headers) as lines:
                await self._listen(lines, events, draft)
            self._check(events, draft)
        except ChatbotError as error:
            if draft.is_beyond_harm:
                return draft
            partial = kaira.line.storable(draft.text)
            raise ChatbotError(
                error.fault,
                error.message,
                quote=error.quote,
                status=error.status,
                partial=partial,
            ) from None
        return draft

    async def _listen(self, lines: StreamLines, events: Events, draft: ReplyDraft) -> None:
        with contextlib.suppress(
            TimeoutError
        ):  # our own timeout: the connection has faults of its own
            async with asyncio.timeout(None) as patience:
                async for line in lines:
                    draft.first_line_at = draft.first_line_at or time.perf_counter()
                    self._take(events.feed(line), draft)
                    if events.is_done:
                        return
                    if draft.is_over and patience.when() is None:
                        now = asyncio.get_running_loop().time()
                        patience.reschedule(now + _AFTERTHOUGHT_SECONDS)
        self._take(events.end(), draft)

    def _take(self, chunks: Sequence[Chunk], draft: ReplyDraft) -> None:
        for chunk in chunks:
            self._kaira.take(chunk, draft)

    def _check(self, events: Events, draft: ReplyDraft) -> None:
        """
        Raises:
            ChatbotError: the stream ended without a whole answer.
        """
        host = self._kaira.line.target.host
        if not events.chunks and events.unread is not None:
            raise ChatbotError(
                Fault.UNREADABLE,
                f"nothing of {host}'s answer can be read",
                quote=self._kaira.line.shown(events.unread),
            )
        if not (events.is_done or draft.is_complete or draft.is_beyond_harm):
            raise ChatbotError(Fault.CONNECTION_LOST, f"{host}'s answer ended before it was whole")

    def _error(self, draft: ReplyDraft) -> str | None:
        error = draft.error
        if error is None and not draft.text and draft.card is None:
            error = draft.failure
        return None if error is None else self._kaira.line.storable(error)

    def _names(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(self._kaira.line.storable(name[:_NAME_LIMIT]) for name in names[:_MOST_NAMES])

    def _name(self, name: str | None) -> str | None:
        return None if name is None else self._kaira.line.storable(name[:_NAME_LIMIT])


def text_of(chunk: Chunk, name: str) -> str:
    """The text of a chunk under a name. Empty if there is none."""
    value = chunk.get(name)
    return value if isinstance(value, str) else ""


def reported(chunk: Chunk, name: str) -> str:
    """The error that a chunk reports, never empty."""
    value = chunk.get(name)
    if isinstance(value, str) and value.strip():
        return value
    return f"no details: {value!r}" if value else "an error without details"
