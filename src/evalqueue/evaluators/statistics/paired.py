"""Two measurements of the same conversations: their difference, with its 95 % interval.

- Yes or no: McNemar's test (McNemar 1947, Psychometrika 12:153) in its exact form, a binomial test
  of the pairs that differ; and the adjusted Wald interval of Bonett and Price (2012, J. Educ.
  Behav. Stat. 37:479), whose coverage is near 95 % also for few pairs.
- Numbers: Student's interval of the mean of the pairs' differences.
"""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

from evalqueue.evaluators.statistics.intervals import mean_interval, student_t

_Z = NormalDist().inv_cdf(0.975)
_Z_POWER = NormalDist().inv_cdf(0.8)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """How much more the second measurement has: of a share (0 to 1), or in a number's unit."""

    pairs: int
    difference: float
    low: float
    high: float
    p_value: float | None
    """Two-sided, of the hypothesis that both are alike; None: of numbers only the interval is
    computed."""
    detectable: float
    """The smallest true difference that so many pairs show with a probability of 80 %."""


def mcnemar(lost: int, gained: int) -> float:
    """The two-sided p-value of the exact test: how likely pairs that differ would be as one-sided
    as this, or more so, if both directions were equally likely.

    Args:
        lost: pairs that had it first only.
        gained: pairs that have it second only.
    """
    total = lost + gained
    tail = ways = 1
    for k in range(min(lost, gained)):
        ways = ways * (total - k) // (k + 1)  # of k + 1 among all: exact, and fast for thousands
        tail += ways
    return min(1.0, 2 * tail / 2**total)


def of_shares(*, lost: int, gained: int, pairs: int) -> PairedDifference:
    """The difference of two shares of the same `pairs`, at least one."""
    size = pairs + 2
    first, second = (lost + 1) / size, (gained + 1) / size
    error = sqrt((first + second - (second - first) ** 2) / size)
    middle = second - first
    return PairedDifference(
        pairs=pairs,
        difference=(gained - lost) / pairs,
        low=max(-1.0, middle - _Z * error),
        high=min(1.0, middle + _Z * error),
        p_value=mcnemar(lost, gained),
        detectable=min(1.0, (_Z + _Z_POWER) * error),
    )


def of_numbers(*, pairs: int, total: float, squares: float) -> PairedDifference | None:
    """The mean of differences.

    Args:
        total: their sum.
        squares: the sum of their squares.

    Returns:
        None: fewer than two pairs don't show how much they differ.
    """
    if pairs < 2:  # noqa: PLR2004  one difference has no variance
        return None
    mean = total / pairs
    off = max(0.0, squares - pairs * mean**2)
    interval = mean_interval(mean, measured=pairs, clusters=pairs, squares=off)
    low, high = interval or (mean, mean)
    error = (high - low) / 2 / student_t(pairs - 1)
    return PairedDifference(
        pairs=pairs, difference=mean, low=low, high=high, p_value=None,
        detectable=(student_t(pairs - 1) + _Z_POWER) * error,
    )  # fmt: skip
