"""Decisions by several tests at once, and a test of how often something happens."""

from collections.abc import Sequence
from math import exp, lgamma, log


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of a family of tests, adjusted by Holm (1979, Scand. J. Stat. 6:65), in their
    order. To reject those of at most α rejects any true hypothesis with a probability of at most α,
    however the tests depend on each other."""
    adjusted = [1.0] * len(p_values)
    smallest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        smallest = max(smallest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = smallest
    return adjusted


def more_often_than(rate: float, *, times: int, trials: int) -> float:
    """The p-value of the exact one-sided binomial test: how likely something that happens in a
    share of `rate`, between 0 and 1, would happen `times` or more in so many trials."""
    ways = lgamma(trials + 1)
    happens, does_not = log(rate), log(1 - rate)
    tail = (
        ways - lgamma(k + 1) - lgamma(trials - k + 1) + k * happens + (trials - k) * does_not
        for k in range(times, trials + 1)
    )
    return min(1.0, sum(map(exp, tail)))
