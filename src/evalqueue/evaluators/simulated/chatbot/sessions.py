"""Who talks to the simulated bot: one active session per user, as with the real one.

A new session ends the user's old one. A message that still comes for the old one lands in the new
conversation: that mixes two up, and is counted, since only a caller's mistake leads to it.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from evalqueue.evaluators.simulated.chatbot.bot import SimulatedDialogue
from evalqueue.evaluators.simulated.chatbot.wire import ChatbotRequest

_REMEMBERED_SESSIONS = 10_000
_REMEMBERED_TURNS = 1_000  # per user


class UnknownSessionError(Exception):
    """There never was such a session, or it was so long ago that it is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTurn:
    """A message to the bot, from its arrival to the end of the answer."""

    session: str
    number: int
    """Of the user's turns, from 1."""
    is_new: bool
    """The first one of its session."""
    dialogue: SimulatedDialogue


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    name: str
    dialogue: SimulatedDialogue


@dataclass(slots=True, kw_only=True)
class _User:
    session: _Session | None = None
    turns: int = 0
    under_way: int = 0
    max_parallel: int = 0
    intervals: deque[dict[str, Any]] = field(
        default_factory=lambda: deque[dict[str, Any]](maxlen=_REMEMBERED_TURNS)
    )


class Sessions:
    """All users and their sessions."""

    def __init__(self, begin: Callable[[], SimulatedDialogue]) -> None:
        self._begin = begin
        self._users: dict[str, _User] = {}
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._count = 0
        self._mixed_turns = 0
        self._since = monotonic()

    @property
    def stats(self) -> dict[str, object]:
        """What was counted; JSON. Times are in seconds since the start."""
        users = self._users
        return {
            "sessions": self._count,
            "active": sum(user.session is not None for user in users.values()),
            "max_parallel_per_user": max((user.max_parallel for user in users.values()), default=0),
            "mixed_turns": self._mixed_turns,
            "turns": {name: list(user.intervals) for name, user in users.items()},
        }

    @contextmanager
    def turn(self, ask: ChatbotRequest) -> Generator[SimulatedTurn]:
        """Find the conversation that a message belongs to, and count the turn while it lasts.

        Raises:
            UnknownSessionError: the message is for none that there ever was.
        """
        owner = ask.user_id if ask.session is None else self._owners.get(ask.session)
        if owner is None:
            raise UnknownSessionError
        user = self._users.setdefault(owner, _User())
        turn = self._begun(ask, user)
        user.under_way += 1
        user.max_parallel = max(user.max_parallel, user.under_way)
        begun = monotonic() - self._since
        try:
            yield turn
        finally:
            user.under_way -= 1
            ended = monotonic() - self._since
            user.intervals.append({"session": turn.session, "start": begun, "end": ended})

    def close(self, name: str) -> bool:
        """End a session; whether it was active."""
        user = self._users.get(self._owners.get(name, ""))
        if user is None or user.session is None or user.session.name != name:
            return False
        user.session = None
        return True

    def _begun(self, ask: ChatbotRequest, user: _User) -> SimulatedTurn:
        user.turns += 1
        if ask.history is not None:
            dialogue = self._begin()
            for said in ask.history:
                dialogue.answer(said)
            return SimulatedTurn(
                session="-", number=user.turns, is_new=not ask.history, dialogue=dialogue
            )
        session = user.session
        is_new = ask.session is None or session is None
        if ask.session is None or session is None:
            session = user.session = self._opened(ask.user_id)
        elif ask.session != session.name:
            self._mixed_turns += 1
        return SimulatedTurn(
            session=session.name, number=user.turns, is_new=is_new, dialogue=session.dialogue
        )

    def _opened(self, user_id: str) -> _Session:
        self._count += 1
        session = _Session(name=f"simulated-{self._count}", dialogue=self._begin())
        self._owners[session.name] = user_id
        if len(self._owners) > _REMEMBERED_SESSIONS:
            self._owners.popitem(last=False)
        return session
