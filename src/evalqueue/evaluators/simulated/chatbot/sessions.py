"""The sessions of the simulated bot: one active session per user, as with the real bot.

A new session ends the previous session of the user. A later message for the previous session goes
to the new conversation. This is counted as a mixed turn, because only an error of the client causes
it.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TypedDict

from evalqueue.evaluators.simulated.chatbot.bot import SimulatedDialogue
from evalqueue.evaluators.simulated.chatbot.protocols import ChatbotRequest

_MAX_REMEMBERED_SESSIONS = 10_000
_MAX_REMEMBERED_TURNS = 1_000  # per user


class UnknownSessionError(Exception):
    """The session does not exist, or it is so old that it was discarded."""


class TurnInterval(TypedDict):
    """When a turn was in progress, in seconds since the start."""

    session: str
    start: float
    end: float


class SessionStats(TypedDict):
    """Counters of sessions."""

    sessions: int
    active: int
    max_parallel_per_user: int
    """Turns of one user that were in progress together."""
    mixed_turns: int
    turns: dict[str, list[TurnInterval]]
    """By user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTurn:
    """A message to the bot and its answer, from arrival to the end of the answer."""

    session: str
    number: int
    """The number among the turns of the user, from 1."""
    is_new: bool
    """Whether it is the first turn of its session."""
    dialogue: SimulatedDialogue


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    name: str
    dialogue: SimulatedDialogue


@dataclass(slots=True, kw_only=True)
class _User:
    session: _Session | None = None
    turns: int = 0
    turns_in_progress: int = 0
    max_parallel: int = 0
    intervals: deque[TurnInterval] = field(
        default_factory=lambda: deque[TurnInterval](maxlen=_MAX_REMEMBERED_TURNS)
    )


class ChatbotSessions:
    """All users and their sessions, with counters."""

    def __init__(self, new_dialogue: Callable[[], SimulatedDialogue]) -> None:
        self._new_dialogue = new_dialogue
        self._users: dict[str, _User] = {}
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._count = 0
        self._mixed_turns = 0
        self._started_at = monotonic()

    @property
    def stats(self) -> SessionStats:
        users = self._users
        return {
            "sessions": self._count,
            "active": sum(user.session is not None for user in users.values()),
            "max_parallel_per_user": max((user.max_parallel for user in users.values()), default=0),
            "mixed_turns": self._mixed_turns,
            "turns": {name: list(user.intervals) for name, user in users.items()},
        }

    @contextmanager
    def turn(self, request: ChatbotRequest) -> Generator[SimulatedTurn]:
        """Find the conversation of a message, and record the turn while it is in progress.

        Raises:
            UnknownSessionError: the message names an unknown session.
        """
        owner = request.user_id if request.session is None else self._owners.get(request.session)
        if owner is None:
            raise UnknownSessionError
        user = self._users.setdefault(owner, _User())
        turn = self._start_turn(request, user)
        user.turns_in_progress += 1
        user.max_parallel = max(user.max_parallel, user.turns_in_progress)
        start = monotonic() - self._started_at
        try:
            yield turn
        finally:
            user.turns_in_progress -= 1
            end = monotonic() - self._started_at
            user.intervals.append({"session": turn.session, "start": start, "end": end})

    def close(self, name: str) -> bool:
        """End a session. Returns whether it was active."""
        user = self._users.get(self._owners.get(name, ""))
        if user is None or user.session is None or user.session.name != name:
            return False
        user.session = None
        return True

    def _start_turn(self, request: ChatbotRequest, user: _User) -> SimulatedTurn:
        user.turns += 1
        if request.history is not None:
            dialogue = self._new_dialogue()
            for message in request.history:
                dialogue.answer(message)
            return SimulatedTurn(
                session="-", number=user.turns, is_new=not request.history, dialogue=dialogue
            )
        session = user.session
        is_new = request.session is None or session is None
        if request.session is None or session is None:
            session = user.session = self._open_session(request.user_id)
        elif request.session != session.name:
            self._mixed_turns += 1
        return SimulatedTurn(
            session=session.name, number=user.turns, is_new=is_new, dialogue=session.dialogue
        )

    def _open_session(self, user_id: str) -> _Session:
        self._count += 1
        session = _Session(name=f"simulated-{self._count}", dialogue=self._new_dialogue())
        self._owners[session.name] = user_id
        if len(self._owners) > _MAX_REMEMBERED_SESSIONS:
            self._owners.popitem(last=False)
        return session
