"""How votes are counted: the rules for majorities, ties and abstentions, and how far votes agree.

Each vote has a weight: 1, or that of its model in a panel. A label wins with more than half of the
weight cast; of numbers the weighted median is taken. A vote that failed abstains. Where no more
than half of all weight was cast, or no label wins, nothing is decided.

Agreement is the share of pairs of votes that are the same, whatever they weigh: the observed
agreement of Fleiss (1971, "Measuring nominal scale agreement among many raters", formula 2). A flip
is a question on which not all votes are the same.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from evalqueue.evaluators.judging.scores import ScoreValue
from evalqueue.evaluators.judging.voting.panel import ONE, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One vote on a question."""

    value: ScoreValue | None
    """None: it failed."""
    weight: Decimal = ONE
    """Above 0."""
    model: str | None = None
    """Whose it is, where a panel votes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """The votes on one question."""

    votes: tuple[Vote, ...]
    turn: int | None = None

    @property
    def cast(self) -> list[ScoreValue]:
        """What those say that did not fail."""
        return [each.value for each in self.votes if each.value is not None]

    @property
    def weight(self) -> Decimal:
        """Of all votes."""
        return _weight(self.votes)

    @property
    def cast_weight(self) -> Decimal:
        """Of those that did not fail."""
        return _weight(each for each in self.votes if each.value is not None)

    @property
    def is_weighted(self) -> bool:
        """Whether votes have other weights than 1."""
        return any(each.weight != 1 for each in self.votes)

    @property
    def has_quorum(self) -> bool:
        """Whether more than half of all weight was cast."""
        return self.cast_weight * 2 > self.weight

    @property
    def decision(self) -> ScoreValue | None:
        """The label with more than half of the weight cast, or the weighted median of numbers.
        None: nothing is decided."""
        if not self.has_quorum:
            return None
        numbers = [
            (each.value, each.weight)
            for each in self.votes
            if isinstance(each.value, int | float) and not _is_label(each.value)
        ]
        if numbers:
            return weighted_median(numbers)
        weights: defaultdict[ScoreValue, Decimal] = defaultdict(Decimal)
        for each in self.votes:
            if each.value is not None:
                weights[each.value] += each.weight
        most = self.cast_weight
        return next((value for value, weight in weights.items() if weight * 2 > most), None)

    @property
    def agreement(self) -> float | None:
        """The share of pairs that agree, from 0 to 1. None: there is no pair."""
        times = Counter(self.cast)
        cast = times.total()
        if cast < 2:  # noqa: PLR2004  a pair
            return None
        return sum(each * (each - 1) for each in times.values()) / (cast * (cast - 1))

    @property
    def is_flip(self) -> bool:
        """Whether not all votes are the same."""
        return len(set(self.cast)) > 1

    def __str__(self) -> str:
        """The votes by what they say, with their weight: that which weighs most comes first."""
        alike: defaultdict[str, list[Vote]] = defaultdict(list)
        for each in self.votes:
            if each.value is not None:
                alike[str(each.value)].append(each)
        ordered = sorted(alike.items(), key=lambda item: -_weight(item[1]))
        counted = ", ".join(f"{value} {_described(votes)}" for value, votes in ordered) or "no vote"
        failed = [each for each in self.votes if each.value is None]
        return f"{counted}, {_described(failed)} failed" if failed else counted


def weighted_median(numbers: Iterable[tuple[float, Decimal]]) -> float:
    """The number that has half of the weight on each side; the mean of two, where half of the
    weight ends between them. Of equal weights, the median.

    Args:
        numbers: at least one, each with its weight, above 0.
    """
    ordered = sorted(numbers)
    total, below = sum((weight for _, weight in ordered), Decimal(0)), Decimal(0)
    for place, (number, weight) in enumerate(ordered):
        below += weight
        if below * 2 > total:
            return number
        if below * 2 == total:
            return (number + ordered[place + 1][0]) / 2
    raise ValueError("There is no number")


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


def _weight(votes: Iterable[Vote]) -> Decimal:
    return sum((each.weight for each in votes), Decimal(0))


def _described(votes: Sequence[Vote]) -> str:
    models = dict.fromkeys(each.model for each in votes if each.model is not None)
    weight = shown(_weight(votes))
    return f"{weight} ({', '.join(models)})" if models else weight
