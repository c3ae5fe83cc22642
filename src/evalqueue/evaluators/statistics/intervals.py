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
from math import sqrt
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
