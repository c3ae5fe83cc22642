"""Conversations: what is evaluated.

A *turn* is a user message and the bot's answer; a *thread* is one conversation. Both are plain
values: `formats` reads them from files, and the evaluators judge them.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)
"""The time of a turn whose time is not known. Turns of the same time keep the file's order."""


class TurnData(StrEnum):
    """What not all data have of a turn, by its name there."""

    SYSTEM = "system"
    CONTEXT = "context"
    TOOL_CALLS = "tool_calls"
    ERROR = "error"
    EXPECTED = "expected"
    ALTERNATIVE = "alternative"
    EXPECTED_TOOL_CALLS = "expected_tool_calls"
    LATENCY = "latency_seconds"
    WAIT = "wait_seconds"


MAY_BE_EMPTY = frozenset(
    {
        TurnData.EXPECTED,
        TurnData.ALTERNATIVE,
        TurnData.EXPECTED_TOOL_CALLS,
        TurnData.LATENCY,
        TurnData.WAIT,
    }
)
"""What says something also where it is empty, such as that no call is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool that the bot called during a turn."""

    name: str
    arguments: str
    """As recorded; usually JSON."""
    result: str | None = None
    """What the tool returned. None: not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedCall:
    """A tool that people say the bot should have called."""

    name: str
    arguments: str | None = None
    """As JSON. None: any."""
    arguments_schema: str | None = None
    """A JSON Schema that the arguments have to satisfy, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One user message and the bot's answer to it."""

    number: int
    """1 for the first turn of its thread."""
    timestamp: datetime
    """Aware; a file without a time zone means UTC. `UNKNOWN_TIME`: the file has no time for it."""
    user_text: str
    bot_text: str
    routed_intent: str | None = None
    """The intent that the router in production chose. None: not recorded."""
    routed_query_type: str | None = None
    has_image: bool = False
    error: str | None = None
    """What went wrong in production during this turn, if anything did."""
    session_id: str | None = None
    response_id: str | None = None
    system: str | None = None
    """The bot's instructions (system prompt), in the turn from which they apply."""
    context: str | None = None
    """What was given to the bot besides the user's message, e.g. retrieved documents."""
    tool_calls: tuple[ToolCall, ...] = ()
    """In the order of the calls."""
    expected: str | None = None
    """The reference answer: what the bot should have said. None: there is none."""
    alternative: str | None = None
    """Another answer to the same message, of another bot for instance. None: there is none."""
    tools: str | None = None
    """The definitions of the tools that the bot could call, as JSON, in the turn from which they
    apply."""
    expected_tool_calls: tuple[ExpectedCall, ...] | None = None
    """What the bot should have called, by people. None: not given."""
    latency_seconds: float | None = None
    """How long the answer took, as recorded. None: not recorded."""
    wait_seconds: float | None = None
    """Between the times of the user's message and of the answer. None: one of them has no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """One conversation: at least one turn, in the order they happened."""

    thread_id: str
    user_id: str
    turns: tuple[Turn, ...]

    @property
    def started_at(self) -> datetime:
        return self.turns[0].timestamp

    @property
    def ended_at(self) -> datetime:
        return self.turns[-1].timestamp

    @property
    def duration(self) -> timedelta:
        return self.ended_at - self.started_at

    @property
    def expected_tool_calls(self) -> tuple[ExpectedCall, ...] | None:
        """What the bot should have called in the whole conversation. None: not given.

        Tables repeat what concerns a conversation in each of its rows: where every turn has the
        same calls, they are the conversation's. Otherwise each turn has its own.
        """
        given = [turn.expected_tool_calls for turn in self.turns]
        known = [calls for calls in given if calls is not None]
        if not known:
            return None
        if len(known) == len(given) and len(set(known)) == 1:
            return known[0]
        return tuple(call for calls in known for call in calls)

    @property
    def has_errors(self) -> bool:
        return any(turn.error for turn in self.turns)
