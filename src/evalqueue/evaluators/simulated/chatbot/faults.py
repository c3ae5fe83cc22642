"""Faults in the transmission of the simulated bot's answers.

An answer is a sequence of steps. A fault delays, damages or endlessly repeats them. The server
decides which turn has which fault.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from evalqueue.evaluators.simulated.chatbot.bot import SimulatedAnswer
from evalqueue.evaluators.simulated.chatbot.protocols import AnswerIds, ChatbotProtocol

_TOO_LARGE_BYTES = 5_000_000
_KEEP_ALIVE_COUNT = 5


class SimulatedFault(StrEnum):
    """A fault in the transmission of an answer."""

    HANG = "hang"
    """Sends no byte until the client disconnects."""
    DROP_MID_STREAM = "drop_mid_stream"
    HTTP_500 = "http_500"
    HTTP_503 = "http_503"
    ERROR_CHUNK = "error_chunk"
    """The bot itself reports an error."""
    TOO_LARGE = "too_large"
    ENDLESS = "endless"
    """Sends keep-alives without end."""
    GARBAGE = "garbage"
    EMPTY = "empty"
    """Sends an answer without text."""
    SLOW_TOKENS = "slow_tokens"
    KEEP_ALIVES = "keep_alives"
    """Sends some keep-alives before the answer. Harmless."""

    @property
    def status(self) -> int | None:
        """The HTTP status, if the fault is an HTTP error."""
        return {SimulatedFault.HTTP_500: 500, SimulatedFault.HTTP_503: 503}.get(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendStep:
    """The next step in the transmission of an answer."""

    after_seconds: float = 0.0
    """The delay before the step. Infinite: wait until the client disconnects."""
    data: bytes | None = None
    """The bytes to send. None: drop the connection."""


def steps(
    fault: SimulatedFault | None,
    protocol: ChatbotProtocol,
    answer: SimulatedAnswer,
    ids: AnswerIds,
    *,
    pause_seconds: float,
) -> Iterator[SendStep]:
    """The transmission of an answer with a fault, if any. It never ends for ENDLESS."""
    frames = protocol.answer(answer, ids)
    match fault:
        case SimulatedFault.HANG:
            yield SendStep(after_seconds=math.inf)
        case SimulatedFault.DROP_MID_STREAM:
            body = b"".join(frames)
            yield SendStep(data=body[: len(body) // 2])
            yield SendStep(after_seconds=pause_seconds)
        case SimulatedFault.ENDLESS:
            while True:
                yield SendStep(after_seconds=pause_seconds, data=protocol.keep_alive)
        case SimulatedFault.GARBAGE:
            yield SendStep(data=_garbage(ids.response_id))
        case SimulatedFault.KEEP_ALIVES:
            for _ in range(_KEEP_ALIVE_COUNT):
                yield SendStep(after_seconds=pause_seconds, data=protocol.keep_alive)
            yield from (SendStep(data=frame) for frame in frames)
        case SimulatedFault.SLOW_TOKENS:
            yield from (SendStep(after_seconds=pause_seconds, data=frame) for frame in frames)
        case _:
            frames = protocol.answer(_faulty_answer(answer, fault), ids)
            yield from (SendStep(data=frame) for frame in frames)


def _faulty_answer(answer: SimulatedAnswer, fault: SimulatedFault | None) -> SimulatedAnswer:
    """The answer, replaced if the fault is in its content."""
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
