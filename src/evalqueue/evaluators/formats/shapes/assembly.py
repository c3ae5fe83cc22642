"""Messages of any shape become turns: a user's message and the bot's answer."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from evalqueue.evaluators.conversation import UNKNOWN_TIME, ExpectedCall, ToolCall
from evalqueue.evaluators.formats import UNKNOWN_USER, Message
from evalqueue.evaluators.formats.values.columns import name_of

Role = Literal["user", "assistant", "system", "tool", "context"]

EMPTY_ANSWER = "The answer is empty."

CALLING = ("function call", "tool call")
"""Roles of messages whose text is a call."""
_ROLES: dict[str, Role] = {
    **dict.fromkeys(
        ("user", "human", "customer", "end user", "enduser", "client", "visitor", "guest", "me",
         "prompter", "member", "requester", "caller", "patient", "consumer", "inbound", "incoming",
         "question", "student", "employee", "lead", "contact", "you"), "user"),
    **dict.fromkeys(
        ("assistant", "bot", "ai", "gpt", "chatgpt", "model", "agent", "chatbot", "bing", "bard",
         "claude", "operator", "support", "admin", "representative", "advisor", "advisor",
         "outbound", "outgoing", "answer", "response", "virtual assistant", "llm", "staff",
         "aimessagechunk", *CALLING), "assistant"),
    **dict.fromkeys(("system", "developer", "instructions"), "system"),
    **dict.fromkeys(
        ("tool", "function", "observation", "ipython", "function response", "environment"), "tool"),
    **dict.fromkeys(("context", "document", "documents", "retrieval"), "context"),
}  # fmt: skip


def role_of(written: str) -> Role | None:
    """The role that a file's word means. None: it is no known role."""
    return _ROLES.get(name_of(written).replace("_", " ").replace("-", " "))


@dataclass(slots=True, kw_only=True)
class Call:
    """A tool call, and its result where it is known."""

    id: str | None
    name: str
    arguments: str
    result: str | None = None


@dataclass(slots=True, kw_only=True)
class Part:
    """One message of a conversation, of whatever shape."""

    role: Role
    text: str
    row: int = 0
    """Of the record, for messages that are scattered over a file."""
    at: datetime | None = None
    user_id: str | None = None
    has_image: bool = False
    intent: str | None = None
    query_type: str | None = None
    error: str | None = None
    session_id: str | None = None
    response_id: str | None = None
    context: str | None = None
    system: str | None = None
    expected: str | None = None
    alternative: str | None = None
    tools: str | None = None
    expected_calls: tuple[ExpectedCall, ...] | None = None
    latency_seconds: float | None = None
    calls: list[Call] = field(default_factory=list[Call])
    """Tools that the assistant calls with this message."""
    results: list[tuple[str | None, str]] = field(default_factory=list[tuple[str | None, str]])
    """Results of earlier calls, by the id of the call where it has one."""
    id: str | None = None
    parent_id: str | None = None
    rank: int = 0
    """Among the answers to the same message, the best is the lowest."""


@dataclass(slots=True, kw_only=True)
class Conversation:
    """A conversation, or a part of it that one record holds."""

    thread_id: str
    parts: list[Part]
    """In the order of the conversation."""
    user_id: str = UNKNOWN_USER
    session_id: str | None = None
    at: datetime | None = None
    """Of the messages that have no time of their own."""
    error: str | None = None
    """Of the last turn."""
    expected: str | None = None
    """Of the last turn."""
    alternative: str | None = None
    """Of the last turn."""
    latency_seconds: float | None = None
    """Of the only turn: beside several turns, it may be that of all."""


@dataclass(slots=True)
class _Turn:
    """A turn that is still incomplete."""

    users: list[str] = field(default_factory=list[str])
    """Who has asked, where the messages say so."""
    asked: list[str] = field(default_factory=list[str])
    answered: list[str] = field(default_factory=list[str])
    is_answered: bool = False
    """Whether the assistant has sent a message, even an empty one."""
    has_image: bool = False
    at: datetime | None = None
    calls: list[Call] = field(default_factory=list[Call])
    context: list[str] = field(default_factory=list[str])
    system: list[str] = field(default_factory=list[str])
    tools: str | None = None
    expected_calls: tuple[ExpectedCall, ...] | None = None
    intent: str | None = None
    query_type: str | None = None
    error: str | None = None
    expected: str | None = None
    alternative: str | None = None
    session_id: str | None = None
    response_id: str | None = None
    latencies: list[float] = field(default_factory=list[float])
    asked_at: datetime | None = None
    """When the last of the user's messages was sent."""
    answered_at: datetime | None = None
    """When the first answer was sent."""

    @property
    def latency_seconds(self) -> float | None:
        """None: not recorded, or several messages have one, of which it is not clear what they
        include."""
        return self.latencies[0] if len(self.latencies) == 1 else None

    @property
    def wait_seconds(self) -> float | None:
        asked_at, answered_at = self.asked_at, self.answered_at
        if asked_at in (None, UNKNOWN_TIME) or answered_at is None or answered_at < asked_at:
            return None
        return (answered_at - asked_at).total_seconds()

    @property
    def is_begun(self) -> bool:
        return bool(self.asked or self.is_answered or self.calls)


def assembled(conversation: Conversation, row: int, record: int = 0) -> Iterator[Message]:
    """The turns of a conversation.

    Consecutive messages of one side are one text. An empty answer ends a turn as any other does,
    and so does a tool call: what failed in production is not to disappear.
    """
    turns = _turns(conversation.parts)
    if turns and conversation.error:
        turns[-1].error = turns[-1].error or conversation.error
    if turns and conversation.expected:
        turns[-1].expected = turns[-1].expected or conversation.expected
    if turns and turns[-1].alternative is None:
        turns[-1].alternative = conversation.alternative
    if len(turns) == 1 and conversation.latency_seconds is not None and not turns[0].latencies:
        turns[0].latencies.append(conversation.latency_seconds)
    # A missing time becomes the time before it, or else the first one. This preserves the order of
    # the file, and the conversation's duration stays plausible.
    at = conversation.at or next((turn.at for turn in turns if turn.at), UNKNOWN_TIME)
    for turn in turns:
        at = turn.at or at
        answer = "\n\n".join(turn.answered)
        error = turn.error
        if turn.is_answered and not answer and not turn.calls and error is None:
            error = EMPTY_ANSWER
        yield Message(
            row,
            conversation.thread_id,
            turn.users[0] if turn.users else conversation.user_id,
            at,
            "\n\n".join(turn.asked),
            answer,
            turn.intent,
            turn.query_type,
            turn.has_image,
            error,
            turn.session_id or conversation.session_id,
            turn.response_id,
            "\n\n".join(turn.system) or None,
            "\n\n".join(turn.context) or None,
            recorded(turn.calls),
            record,
            turn.expected,
            turn.tools,
            turn.expected_calls,
            turn.alternative,
            turn.latency_seconds,
            turn.wait_seconds,
            tuple(turn.users[1:]),
        )


def recorded(calls: Iterable[Call]) -> tuple[ToolCall, ...]:
    """Calls as a turn keeps them."""
    return tuple(
        ToolCall(name=each.name, arguments=each.arguments, result=each.result) for each in calls
    )


def _turns(parts: Sequence[Part]) -> list[_Turn]:
    turns: list[_Turn] = []
    waiting = _Turn()  # instructions and context that come before the user's message
    for part in parts:
        if part.role == "user" and (part.text or part.has_image or not part.results):
            last = turns[-1] if turns else None
            if last is None or last.is_answered or last.calls:
                turns.append(waiting)
                waiting = _Turn()
            _add_question(turns[-1], part)
        elif part.role in ("assistant", "user", "tool"):
            if not turns and part.role == "assistant":
                turns.append(waiting)
                waiting = _Turn()
            _add_answer(turns[-1] if turns else waiting, part)
        else:
            target = turns[-1] if turns and not turns[-1].is_answered else waiting
            if part.text:
                (target.system if part.role == "system" else target.context).append(part.text)
            _add_agent(target, part)
    return [turn for turn in turns if turn.is_begun]


def _add_question(turn: _Turn, part: Part) -> None:
    turn.asked.append(part.text)
    if part.user_id:
        turn.users.append(part.user_id)
    turn.asked_at = part.at
    _add_known(turn, part, is_answer=False)


def _add_answer(turn: _Turn, part: Part) -> None:
    """An answer, tool calls, or results of tool calls."""
    if part.role == "assistant":
        if part.text.strip():
            if not turn.answered:
                turn.answered_at = part.at
            turn.answered.append(part.text)
        if part.latency_seconds is not None:
            turn.latencies.append(part.latency_seconds)
        turn.is_answered |= bool(part.text.strip()) or not part.calls
        turn.calls += part.calls
        _add_known(turn, part, is_answer=True)
    if part.role == "tool" and part.text and not part.results:
        _add_result(turn, None, part.text)
    for call_id, result in part.results:
        _add_result(turn, call_id, result)


def _add_result(turn: _Turn, call_id: str | None, result: str) -> None:
    unfinished = [each for each in turn.calls if each.result is None]
    named = [each for each in unfinished if call_id is not None and each.id == call_id]
    # A result without the id of a call belongs to the first call that has none yet.
    for each in (named or ([] if call_id is not None else unfinished))[:1]:
        each.result = result
        return
    turn.calls.append(Call(id=call_id, name=call_id or "tool", arguments="", result=result))


def _add_known(turn: _Turn, part: Part, *, is_answer: bool) -> None:
    """What is known besides the text. An answer's takes precedence over the question's."""
    turn.has_image |= part.has_image
    turn.at = turn.at or part.at
    turn.expected = part.expected or turn.expected
    turn.alternative = turn.alternative if part.alternative is None else part.alternative
    if part.system:
        turn.system.append(part.system)
    if part.context:
        turn.context.append(part.context)
    _add_agent(turn, part)
    if is_answer:
        turn.intent = part.intent or turn.intent
        turn.query_type = part.query_type or turn.query_type
        turn.error = part.error or turn.error
        turn.session_id = part.session_id or turn.session_id
        turn.response_id = part.response_id or turn.response_id
    else:
        turn.intent = turn.intent or part.intent
        turn.query_type = turn.query_type or part.query_type
        turn.error = turn.error or part.error
        turn.session_id = turn.session_id or part.session_id


def _add_agent(turn: _Turn, part: Part) -> None:
    """The bot's tools, and the calls that are expected of it."""
    turn.tools = turn.tools or part.tools
    if part.expected_calls is not None:
        turn.expected_calls = (*(turn.expected_calls or ()), *part.expected_calls)
