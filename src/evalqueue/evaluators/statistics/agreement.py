"""How well raters agree beyond chance: people with each other, and a judge with people.

Each value is 1 for perfect agreement, 0 for what chance would give, and below 0 for less than that.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product

Ratings = tuple[str | None, ...]
"""Of one item, by each of the raters in their order; None: not rated."""
RatedItems = Mapping[Ratings, int]
"""How many items have the same ratings."""

_RESAMPLES = 1000
_SEED = 20230615  # any: the same data give the same interval
_FEW = 2  # ratings that can agree


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A coefficient with its 95 % interval."""

    value: float
    low: float
    high: float
    items: int


def majority(labels: Sequence[str]) -> str | None:
    """The label that more than half of them are. None: there is none."""
    ranked = Counter(labels).most_common(1)
    return next((label for label, times in ranked if 2 * times > len(labels)), None)


def cohens_kappa(items: RatedItems) -> float | None:
    """Cohen's κ (Cohen 1960, Educ. Psychol. Meas. 20:37) of the first two raters, over items that
    both have rated.

    Returns:
        None: there are no such items, or all have the same label from both.
    """
    pairs = Counter[tuple[str, str]]()
    for (one, other, *_), times in items.items():
        if one is not None and other is not None:
            pairs[one, other] += times
    size = sum(pairs.values())
    if not size:
        return None
    first, second = Counter[str](), Counter[str]()
    for (one, other), times in pairs.items():
        first[one] += times
        second[other] += times
    by_chance = sum(first[label] * second[label] for label in first) / size**2
    if by_chance == 1:
        return None
    observed = sum(times for (one, other), times in pairs.items() if one == other) / size
    return (observed - by_chance) / (1 - by_chance)


def fleiss_kappa(items: Sequence[Mapping[str, int]]) -> float | None:
    """Fleiss' κ (Fleiss 1971, Psychol. Bull. 76:378).

    Args:
        items: of each item, how many raters gave each label. All have as many ratings, at least 2.

    Returns:
        None: there are no items, or all ratings are the same.

    Raises:
        ValueError: an item has another number of ratings, or fewer than 2.
    """
    if not items:
        return None
    raters = sum(items[0].values())
    if raters < _FEW or any(sum(item.values()) != raters for item in items):
        raise ValueError("Each item needs the same number of ratings, at least 2")
    totals = Counter[str]()
    for item in items:
        totals.update(item)
    by_chance = sum((times / (len(items) * raters)) ** 2 for times in totals.values())
    if by_chance == 1:
        return None
    pairs = raters * (raters - 1)
    observed = sum(
        (sum(times**2 for times in item.values()) - raters) / pairs for item in items
    ) / len(items)
    return (observed - by_chance) / (1 - by_chance)


def krippendorffs_alpha(items: RatedItems, *, order: Sequence[str] = ()) -> float | None:
    """Krippendorff's α (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability") for any
    number of raters, of whom not all have to rate each item.

    Args:
        order: the labels from one end to the other, if they are ordinal; none: they are nominal.

    Returns:
        None: no item has two ratings, or all ratings are the same.
    """
    coincidences: dict[tuple[str, str], float] = defaultdict(float)
    for item, times in items.items():
        ratings = Counter(each for each in item if each is not None)
        others = ratings.total() - 1
        if others < 1:
            continue
        for one, other in product(ratings, repeat=2):
            pairs = ratings[one] * (ratings[other] - (one == other))
            coincidences[one, other] += times * pairs / others
    totals: dict[str, float] = defaultdict(float)
    for (one, _), weight in coincidences.items():
        totals[one] += weight
    distance = _ordinal(totals, order) if order else _nominal
    expected = sum(
        totals[one] * totals[other] * distance(one, other)
        for one, other in product(totals, repeat=2)
    )
    if not expected:
        return None
    observed = sum(weight * distance(*pair) for pair, weight in coincidences.items())
    return 1 - (sum(totals.values()) - 1) * observed / expected


def _nominal(one: str, other: str) -> float:
    return float(one != other)


def _ordinal(totals: Mapping[str, float], order: Sequence[str]) -> Callable[[str, str], float]:
    """The squared difference of two labels: how many ratings lie between them."""
    rank = {label: number for number, label in enumerate(order)}

    def distance(one: str, other: str) -> float:
        start, end = sorted((rank[one], rank[other]))
        inside = sum(totals.get(label, 0.0) for label in order[start : end + 1])
        return (inside - (totals[one] + totals[other]) / 2) ** 2

    return distance


def with_interval(
    items: RatedItems, coefficient: Callable[[RatedItems], float | None]
) -> Agreement | None:
    """A coefficient with its percentile bootstrap interval: items are drawn anew 1,000 times, with
    all of their ratings (Efron and Tibshirani 1993, chapter 13). The same data give the same one.

    Returns:
        None: the items have no such coefficient.
    """
    value = coefficient(items)
    if value is None:
        return None
    draw = random.Random(_SEED)  # noqa: S311  statistics, not a secret
    kinds, size = sorted(items, key=repr), sum(items.values())
    edges = list(accumulate(items[kind] for kind in kinds))
    resampled = (
        coefficient(Counter(draw.choices(kinds, cum_weights=edges, k=size)))
        for _ in range(_RESAMPLES)
    )
    found = sorted(again for again in resampled if again is not None)
    cut = round(0.025 * len(found))
    return Agreement(value=value, low=found[cut], high=found[-1 - cut], items=size)
