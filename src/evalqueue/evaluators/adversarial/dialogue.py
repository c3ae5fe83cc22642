"""The dialogue: a simulated user and the real bot, turn by turn.

Every message is recorded before it is sent, and again with its answer. A live conversation can't be
replayed, so the record must be complete whenever the conversation breaks off. Timeouts, errors and
empty answers become facts of the turn.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from pydantic import TypeAdapter
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from evalqueue.evaluators.adversarial.cases.case import Case
from evalqueue.evaluators.adversarial.simulated_user import GoalState, Move, UserSimulator
from evalqueue.evaluators.chatbots.protocol import Card, Chat, Chatbot, ChatbotError, Fault, Reply
from evalqueue.evaluators.conversation import Turn
from evalqueue.evaluators.judging.evaluator import Failure
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.verdicts import StopReason

MAX_TURNS = 30  # of any conversation, however many goals it has
_SHOWN_LIMIT = 8_000  # characters of an answer that the simulator and the judge read
_CONNECT_TRIES = 3


class Speaker(StrEnum):
    """The author of a message of the user."""

    CASE = "case"
    SIMULATOR = "simulator"
    CARD = "card"
    """The message confirms a card, as the app's button does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMessage:
    """A message of the user."""

    text: str
    """The text that a person sees."""
    sent: str
    """The text that is sent to the bot."""
    by: Speaker
    tactic: str | None = None
    reason: str | None = None
    """The simulator's reason for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFault:
    """How the connection failed in a turn."""

    fault: Fault
    message: str
    quote: str = ""
    """What was sent instead of an answer, for administrators."""
    status: int | None = None
    partial: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One turn. A turn without a reply and a fault was interrupted."""

    number: int
    message: UserMessage
    sent_at: datetime
    reply: Reply | None = None
    fault: ConnectionFault | None = None

    def facts(self) -> Iterator[str]:
        """What happened on the connection, in sentences for the judge."""
        where = f"Turn {self.number}:"
        if self.fault is not None:
            yield f"{where} no whole answer ({self.fault.fault}): {self.fault.message}"
        if self.reply is None:
            return
        if self.reply.error is not None:
            yield f"{where} the assistant reported an error: {self.reply.error[:500]}"
        elif not self.reply.shown.strip():
            yield f"{where} the answer was empty."
        for kind in self.reply.unsupported_cards:
            yield f"{where} a card of unknown kind {kind!r} was not confirmed."

    def as_turn(self) -> Turn:
        """The turn as the simulator and the judge read it."""
        reply = self.reply or Reply(text=self.fault.partial if self.fault else "")
        return Turn(
            number=self.number,
            timestamp=self.sent_at,
            user_text=self.message.text,
            bot_text=_shortened(reply.shown),
            routed_intent=next(iter(reply.intents), None),
            error=None if reply.error is None else _shortened(reply.error),
            response_id=reply.response_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a conversation ended."""

    stop_reason: StopReason
    states: Mapping[str, GoalState] = field(default_factory=dict[str, GoalState])
    """What the simulated user believed about its goals."""
    reason: str | None = None
    """The simulated user's last reason, or what failed."""
    failure: Failure | None = None
    """Why the simulated user could not go on."""


EXCHANGE = TypeAdapter(Exchange)
ENDING = TypeAdapter(Ending)
"""Both convert to and from the JSON that is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """One whole conversation."""

    exchanges: tuple[Exchange, ...]
    ending: Ending

    @property
    def turns(self) -> list[Turn]:
        return [exchange.as_turn() for exchange in self.exchanges]

    @property
    def fault(self) -> ConnectionFault | None:
        return self.exchanges[-1].fault if self.exchanges else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The maximum length of a conversation, and its pace."""

    max_turns: int = 10
    """Turns for each goal."""
    turn_delay_seconds: float = 1.5
    """The delay between an answer and the next message."""

    def turns_for(self, case: Case) -> int:
        return min(self.max_turns * max(1, len(case.goals)), MAX_TURNS)


class ExchangeRecorder(Protocol):
    """Stores the turns of a conversation while it runs."""

    async def record(self, exchange: Exchange) -> None:
        """Store a message that is about to be sent, or the same message with its answer."""
        ...


Sleep = Callable[[float], Awaitable[None]]


async def converse(
    case: Case,
    *,
    key: str,
    chatbot: Chatbot,
    simulator: UserSimulator,
    judge: Judge,
    limits: Limits,
    recorder: ExchangeRecorder,
    sleep: Sleep = asyncio.sleep,
) -> Dialogue:
    """Hold one conversation, until the user reaches its goals, gives up, or can't continue.

    Raises:
        ProviderError: every later LLM call would fail in the same way.
    """
    exchanges: list[Exchange] = []
    states: Mapping[str, GoalState] = {}
    message = UserMessage(text=case.opening, sent=case.opening, by=Speaker.CASE, tactic=case.tactic)
    async with chatbot.chat() as chat:
        for number in range(1, limits.turns_for(case) + 1):
            if number > 1:
                await sleep(limits.turn_delay_seconds)
            begun = Exchange(number=number, message=message, sent_at=datetime.now(UTC))
            await recorder.record(begun)
            exchange = await _exchanged(chat, begun, sleep)
            await recorder.record(exchange)
            exchanges.append(exchange)
            if exchange.fault is not None:
                return _ended(exchanges, _broken_off(exchange.fault, states))
            card = exchange.reply.card if exchange.reply else None
            if card is not None:
                message = _confirming(card)
                continue
            turns = [each.as_turn() for each in exchanges]
            move = await simulator.move(case, turns, key=key, judge=judge)
            if isinstance(move, Failure):
                return _ended(exchanges, _could_not_go_on(move, states))
            states = move.states
            if move.message is None:
                return _ended(exchanges, _done(move))
            message = UserMessage(
                text=move.message, sent=move.message, by=Speaker.SIMULATOR,
                tactic=move.tactic, reason=move.reason,
            )  # fmt: skip
    reason = f"{len(exchanges)} turns are the most that this case may have"
    ending = Ending(stop_reason=StopReason.MAX_TURNS, states=states, reason=reason)
    return _ended(exchanges, ending)


async def _exchanged(chat: Chat, begun: Exchange, sleep: Sleep) -> Exchange:
    """Send a turn's message and wait for the answer. Only a message that was certainly not sent is
    sent again."""
    trying = AsyncRetrying(
        sleep=sleep,
        retry=retry_if_exception(_was_not_sent),
        wait=wait_exponential(multiplier=0.5, max=5),
        stop=stop_after_attempt(_CONNECT_TRIES),
        reraise=True,
    )
    try:
        return replace(begun, reply=await trying(chat.say, begun.message.sent))
    except ChatbotError as error:
        fault = ConnectionFault(
            fault=error.fault,
            message=error.message,
            quote=error.quote,
            status=error.status,
            partial=error.partial,
        )
        return replace(begun, fault=fault)


def _was_not_sent(error: BaseException) -> bool:
    return isinstance(error, ChatbotError) and error.fault is Fault.UNREACHABLE


def _confirming(card: Card) -> UserMessage:
    return UserMessage(text=card.label, sent=card.confirmation, by=Speaker.CARD)


def _ended(exchanges: Sequence[Exchange], ending: Ending) -> Dialogue:
    return Dialogue(exchanges=tuple(exchanges), ending=ending)


def _done(move: Move) -> Ending:
    gave_up = GoalState.ABANDONED in move.states.values()
    return Ending(
        stop_reason=StopReason.GOAL_ABANDONED if gave_up else StopReason.GOAL_COMPLETE,
        states=move.states,
        reason=move.reason,
    )


def _broken_off(fault: ConnectionFault, states: Mapping[str, GoalState]) -> Ending:
    return Ending(stop_reason=StopReason.ERROR, states=states, reason=fault.message)


def _could_not_go_on(failure: Failure, states: Mapping[str, GoalState]) -> Ending:
    return Ending(
        stop_reason=StopReason.ERROR, states=states, reason=failure.message, failure=failure
    )


def _shortened(text: str) -> str:
    over = len(text) - _SHOWN_LIMIT
    if over <= 0:
        return text
    return f"{text[:_SHOWN_LIMIT]}\n[{over} more characters are left out here]"
