"""What a check looks at, and what it finds."""

from collections.abc import Sequence
from dataclasses import dataclass

from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.judging.quotes import CheckedQuote

_QUOTE_MAX = 300  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSubject:
    """Some turns of a conversation."""

    thread: Thread
    turns: Sequence[Turn]

    @property
    def text(self) -> str:
        """What the bot said."""
        return "\n\n".join(turn.bot_text for turn in self.turns if turn.bot_text)

    @property
    def user_text(self) -> str:
        """What the user said."""
        return "\n\n".join(turn.user_text for turn in self.turns if turn.user_text)

    @property
    def expected(self) -> str | None:
        """The reference answer to what was asked last."""
        return self.turns[-1].expected if self.turns else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """Whether a check was passed, why, and what shows it."""

    passed: bool
    note: str
    quotes: Sequence[str] = ()
    """Of the bot's answers."""

    def evidence(self, subject: CheckSubject) -> list[CheckedQuote]:
        """The quotes with their turns. They are the bot's own words, so each can be found."""
        return [
            {
                "turn": _turn_with(quote, subject),
                "quote": quote[:_QUOTE_MAX],
                "in_transcript": True,
            }
            for quote in self.quotes
        ]


def _turn_with(quote: str, subject: CheckSubject) -> int:
    numbers = [turn.number for turn in subject.turns if quote in turn.bot_text]
    return numbers[0] if numbers else subject.turns[-1].number
