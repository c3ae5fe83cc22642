"""Faults in the transmission of the simulated bot's answers.

An answer is a sequence of steps. A fault delays them, damages them, or repeats them without end.
The server decides which turn has which fault.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from evalqueue.evaluators.simulated.chatbot.bot import SimulatedAnswer
from evalqueue.evaluators.simulated.chatbot.wire import AnswerIds, ChatbotProtocol

_TOO_LARGE_BYTES = 5_000_000
_KEEP_ALIVES = 5


class SimulatedFault(StrEnum):
    """What can go wrong."""

    HANG = "hang"
    """Not a byte, until the caller goes away."""
    DROP_MID_STREAM = "drop_mid_stream"
    HTTP_500 = "http_500"
    HTTP_503 = "http_503"
    ERROR_CHUNK = "error_chunk"
    """The bot itself reports an error."""
    TOO_LARGE = "too_large"
    ENDLESS = "endless"
    """Keep-alives for ever."""
    GARBAGE = "garbage"
    EMPTY = "empty"
    """An answer that says nothing."""
    SLOW_TOKENS = "slow_tokens"
    KEEP_ALIVES = "keep_alives"
    """Some before the answer; harmless."""

    @property
    def status(self) -> int | None:
        """Of the response, if that is all that there is of it."""
        return {SimulatedFault.HTTP_500: 500, SimulatedFault.HTTP_503: 503}.get(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendStep:
    """What happens next to an answer under way."""

    after_seconds: float = 0.0
    """Infinite: never, unless the caller goes away."""
    data: bytes | None = None
    """None: the line is cut."""


def steps(
    fault: SimulatedFault | None,
    wire: ChatbotProtocol,
    answer: SimulatedAnswer,
    place: AnswerIds,
    *,
    pause_seconds: float,
) -> Iterator[SendStep]:
    """What becomes of an answer on its way, fault or none; for ever, if it is `endless`."""
    frames = wire.answer(answer, place)
    match fault:
        case SimulatedFault.HANG:
            yield SendStep(after_seconds=math.inf)
        case SimulatedFault.DROP_MID_STREAM:
            whole = b"".join(frames)
            yield SendStep(data=whole[: len(whole) // 2])
            yield SendStep(after_seconds=pause_seconds)
        case SimulatedFault.ENDLESS:
            while True:
                yield SendStep(after_seconds=pause_seconds, data=wire.keep_alive)
        case SimulatedFault.GARBAGE:
            yield SendStep(data=_garbage(place.response_id))
        case SimulatedFault.KEEP_ALIVES:
            for _ in range(_KEEP_ALIVES):
                yield SendStep(after_seconds=pause_seconds, data=wire.keep_alive)
            yield from (SendStep(data=frame) for frame in frames)
        case SimulatedFault.SLOW_TOKENS:
            yield from (SendStep(after_seconds=pause_seconds, data=frame) for frame in frames)
        case _:
            said = wire.answer(_instead(answer, fault), place)
            yield from (SendStep(data=frame) for frame in said)


def _instead(answer: SimulatedAnswer, fault: SimulatedFault | None) -> SimulatedAnswer:
    """What the bot says, where a fault is of its own making."""
    match fault:
        case SimulatedFault.ERROR_CHUNK:
            return replace(answer, error="The upstream agent did not answer.")
        case SimulatedFault.EMPTY:
            return replace(answer, text="", text_beside_card="", meals=())
        case SimulatedFault.TOO_LARGE:
            text = "more and more " * (_TOO_LARGE_BYTES // len("more and more ") + 1)
            return replace(answer, text=text, meals=())
        case _:
            return answer


def _garbage(seed: str) -> bytes:
    noise = Random(seed)  # noqa: S311  noise, not a secret
    lines = [noise.randbytes(40).replace(b"\n", b"") for _ in range(20)]
    return b"".join(b"data: \xff{" + line + b"\n" for line in lines)
