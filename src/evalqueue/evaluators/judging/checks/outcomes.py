"""What a check looks at, and what it finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

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


class CheckResult(StrEnum):
    """What a check comes to in one place."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not_applicable"
    """There is nothing of the kind that it is about, such as a table."""
    NOT_MEASURED = "not_measured"
    """The data do not say it: it may have been passed or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """What a check came to, why, and what shows it."""

    result: CheckResult
    note: str
    quotes: Sequence[str] = ()
    """Of the bot's answers."""

    @classmethod
    def of(cls, passed: bool, note: str, quotes: Sequence[str] = ()) -> Self:
        result = CheckResult.PASSED if passed else CheckResult.FAILED
        return cls(result=result, note=note, quotes=quotes)

    @classmethod
    def not_applicable(cls, why: str) -> Self:
        return cls(result=CheckResult.NOT_APPLICABLE, note=f"Not applicable: {why}")

    @classmethod
    def not_measured(cls, why: str) -> Self:
        return cls(result=CheckResult.NOT_MEASURED, note=f"Not measured: {why}")

    @property
    def passed(self) -> bool | None:
        """None: neither passed nor failed."""
        match self.result:
            case CheckResult.PASSED:
                return True
            case CheckResult.FAILED:
                return False
            case _:
                return None

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
