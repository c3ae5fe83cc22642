"""How far a rate may be off: 95 % intervals, also where what was looked at comes in clusters.

- Wilson's score interval (Wilson 1927, JASA 22:209), which holds near 0 and 1 and for few trials;
- trials that come in clusters (those of one case, messages of one thread) are alike, so the
  variance of the rate is taken over clusters, as for clustered questions in Miller 2024 (arXiv
  2411.00640), with the factor C ÷ (C - 1) for few clusters; and Wilson's interval is computed for
  the number of independent trials that would have this variance (Kish's effective sample size;
  Franco et al. 2019, J. Surv. Stat. Methodol. 7:334). That number lies between the number of
  clusters and of trials.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import pi, sqrt, tan
from statistics import NormalDist

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Trials that are alike, at least one, and how many of them came out one way."""

    positive: int
    size: int
    times: int = 1
    """How many clusters like this one there are."""


def wilson(rate: float, size: float) -> tuple[float, float]:
    """Wilson's interval for a rate found in `size` independent trials."""
    spread = _Z * _Z / size
    middle = (rate + spread / 2) / (1 + spread)
    half = sqrt(spread * (rate * (1 - rate) + spread / 4)) / (1 + spread)
    return max(0.0, min(rate, middle - half)), min(1.0, max(rate, middle + half))


def effective_size(clusters: Iterable[Cluster]) -> float:
    """How many independent trials tell as much about a rate as these clusters of alike ones do."""
    clusters = list(clusters)
    count = sum(each.size * each.times for each in clusters)
    number = sum(each.times for each in clusters)
    rate = sum(each.positive * each.times for each in clusters) / count
    if number == count:
        return count
    if number == 1 or rate in {0.0, 1.0}:
        return number  # nothing shows how alike they are: as alike as can be
    off = sum(each.times * (each.positive - rate * each.size) ** 2 for each in clusters)
    variance = number / (number - 1) * off / count**2
    if not variance:
        return count
    return min(count, max(number, rate * (1 - rate) / variance))


def student_t(freedom: int) -> float:
    """The 97.5 % point of Student's t: exact for 1 and 2 degrees of freedom, then the expansion of
    Abramowitz and Stegun (1964), 26.7.5, which is within 0.3 % from 3 on."""
    if freedom == 1:
        return tan(pi * 0.475)
    if freedom == 2:  # noqa: PLR2004  degrees of freedom with a closed form
        return 2 * 0.475 * sqrt(2 / (1 - (2 * 0.475) ** 2))
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))


def mean_interval(
    mean: float, *, measured: int, clusters: int, squares: float
) -> tuple[float, float] | None:
    """The interval of a mean over values that come in clusters (Miller 2024, arXiv 2411.00640, with
    Student's t for few clusters).

    Args:
        measured: how many values there are.
        squares: the sum over clusters of (sum of deviations from the mean)².

    Returns:
        None where a single cluster does not show how much they differ.
    """
    if clusters < 2:  # noqa: PLR2004  one cluster has no variance
        return None
    error = sqrt(clusters / (clusters - 1) * squares) / measured
    half = student_t(clusters - 1) * error
    return mean - half, mean + half
