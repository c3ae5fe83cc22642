"""Two answers to the same messages: what is compared, and what the verdicts of both orders come to.

Judges prefer an answer for its place: of the pairs of LLMBar (Zeng et al. 2024, arXiv:2310.07641),
ChatGPT judges 34 % otherwise when the answers change places. So each pair is judged in both orders,
and a verdict that depends on the order is a tie (Zheng et al. 2023, arXiv:2306.05685, 3.4).
"""

from dataclasses import dataclass, replace
from typing import Self

from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.definitions.definition import Choice

_EXCHANGED = {Choice.FIRST: Choice.SECOND, Choice.SECOND: Choice.FIRST, Choice.TIE: Choice.TIE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two answers, or two rows of answers, to the same messages."""

    before: tuple[Turn, ...]
    """The conversation so far, which both have."""
    first: tuple[Turn, ...]
    """From the first turn that has an alternative to the last one, with the bot's answers."""
    second: tuple[Turn, ...]
    """The same turns, with the alternatives."""

    def exchanged(self) -> Self:
        """The same answers in the other order."""
        return replace(self, first=self.second, second=self.first)

    @property
    def turns(self) -> tuple[Turn, ...]:
        return (*self.before, *self.first, *self.second)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairVerdict:
    """The verdict on a pair."""

    choice: Choice
    is_consistent: bool
    """Whether it is the same in both orders."""


def pair_of(thread: Thread) -> Pair | None:
    """What of a conversation is compared. None: no turn has an alternative.

    Of the alternatives only the text is known, so tool calls and errors are left out of both.
    """
    places = [place for place, turn in enumerate(thread.turns) if turn.alternative is not None]
    if not places:
        return None
    turns = [
        replace(turn, tool_calls=(), error=None)
        for turn in thread.turns[places[0] : places[-1] + 1]
    ]
    return Pair(
        before=thread.turns[: places[0]],
        first=tuple(turns),
        second=tuple(
            turn if turn.alternative is None else replace(turn, bot_text=turn.alternative)
            for turn in turns
        ),
    )


def compared(recorded: str, exchanged: str) -> PairVerdict:
    """What the verdicts of both orders come to.

    Args:
        recorded: the verdict on the answers as they are recorded.
        exchanged: the verdict where the second answer was shown as the first.
    """
    choice = Choice(recorded)
    is_consistent = choice is _EXCHANGED[Choice(exchanged)]
    return PairVerdict(choice=choice if is_consistent else Choice.TIE, is_consistent=is_consistent)
