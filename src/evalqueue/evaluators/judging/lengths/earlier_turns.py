"""An answer is judged with the turns before it: fewer of them, if they are too long for the judge.

What is near matters more, so that the turns at the beginning are left out.
"""

from collections.abc import Sequence

from evalqueue.evaluators.conversation import Turn
from evalqueue.evaluators.judging import transcript
from evalqueue.evaluators.judging.answers import A
from evalqueue.evaluators.judging.evaluator import Failure
from evalqueue.evaluators.judging.lengths.parts import Ask, is_too_long


async def asked(ask: Ask[A], turns: Sequence[Turn]) -> tuple[A | Failure, Sequence[Turn]]:
    """The answer about the last of some turns, or why there is none, and the turns that were shown.

    While they are too long, half as much of those before the last one is shown.
    """
    answer = await ask(turns)
    while is_too_long(answer) and len(turns) > 1:
        turns = nearest(turns, len(transcript.shown(turns[:-1])) // 2)
        answer = await ask(turns)
    return answer, turns


def nearest(turns: Sequence[Turn], characters: int) -> Sequence[Turn]:
    """The last turn and those just before it, which have so many characters at most."""
    left, first = characters, len(turns) - 1
    while first > 0 and (left := left - len(transcript.shown([turns[first - 1]]))) >= 0:
        first -= 1
    return turns[first:]
