"""How votes are counted: the rules for majorities, ties and abstentions, and how far votes agree.

A label wins with more than half of the votes cast; of numbers the median is taken. A vote that
failed abstains. Where no more than half of the votes were cast, or no label wins, nothing is
decided.

Agreement is the share of pairs of votes that are the same, the observed agreement of Fleiss (1971,
"Measuring nominal scale agreement among many raters", formula 2). A flip is a question on which not
all votes are the same.
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from evalqueue.evaluators.judging.scores import ScoreValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """The votes on one question."""

    asked: int
    cast: tuple[ScoreValue, ...]
    """Those that did not fail."""
    turn: int | None = None

    @property
    def has_quorum(self) -> bool:
        """Whether more than half of the votes were cast."""
        return len(self.cast) * 2 > self.asked

    @property
    def decision(self) -> ScoreValue | None:
        """The label with more than half of the votes cast, or the median of numbers. None: nothing
        is decided."""
        if not self.has_quorum:
            return None
        numbers = [
            each for each in self.cast if isinstance(each, int | float) and not _is_label(each)
        ]
        if numbers:
            return statistics.median(numbers)
        value, times = Counter(self.cast).most_common(1)[0]
        return value if times * 2 > len(self.cast) else None

    @property
    def agreement(self) -> float | None:
        """The share of pairs that agree, from 0 to 1. None: there is no pair."""
        cast = len(self.cast)
        if cast < 2:  # noqa: PLR2004  a pair
            return None
        alike = sum(times * (times - 1) for times in Counter(self.cast).values())
        return alike / (cast * (cast - 1))

    @property
    def is_flip(self) -> bool:
        """Whether not all votes are the same."""
        return len(set(self.cast)) > 1

    def __str__(self) -> str:
        counted = Counter(map(str, self.cast)).most_common()
        votes = ", ".join(f"{value} {times}" for value, times in counted) or "no vote"
        missing = self.asked - len(self.cast)
        return f"{votes}, {missing} failed" if missing else votes


def mean_agreement(ballots: Sequence[Ballot]) -> float | None:
    """The mean agreement of the questions that have a pair of votes. None: none has."""
    known = [each.agreement for each in ballots if each.agreement is not None]
    return statistics.fmean(known) if known else None


def flip_rate(ballots: Sequence[Ballot]) -> float | None:
    """The share of questions that flip, of those that have a pair of votes. None: none has."""
    flips = [each.is_flip for each in ballots if each.agreement is not None]
    return statistics.fmean(flips) if flips else None


def _is_label(value: ScoreValue) -> bool:
    return isinstance(value, bool | str)
