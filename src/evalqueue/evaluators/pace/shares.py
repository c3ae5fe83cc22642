"""Fair shares of a rate: max-min fairness, first by owner, then by job, then by process.

A share is at most what is wanted; what one leaves goes to the others in equal parts (water-filling:
Bertsekas and Gallager, Data Networks, section 6.5.2). Every process computes it from the same rows.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one job in one worker process wants."""

    worker: str
    job: str
    owner: str
    wanted: float
    """Calls a second."""
    waiting: int = 0
    in_flight: int = 0


def fair_shares(wanted: Mapping[Key, float], capacity: float) -> dict[Key, float]:
    """The max-min fair share of each."""
    shares: dict[Key, float] = {}
    left = max(0.0, capacity)
    for number, key in enumerate(sorted(wanted, key=lambda each: wanted[each])):
        shares[key] = min(wanted[key], left / (len(wanted) - number))
        left -= shares[key]
    return shares


def allocate(demands: Iterable[Demand], capacity: float) -> dict[tuple[str, str], float]:
    """The share of each worker and job, in calls a second.

    Within a job, processes get parts in proportion to what they want.
    """
    all_demands = list(demands)
    by_owner: defaultdict[str, float] = defaultdict(float)
    by_job: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for each in all_demands:
        by_owner[each.owner] += each.wanted
        by_job[each.owner][each.job] += each.wanted
    of_job: dict[tuple[str, str], float] = {}
    for owner, share in fair_shares(by_owner, capacity).items():
        for job, part in fair_shares(by_job[owner], share).items():
            of_job[owner, job] = part
    allocated: defaultdict[tuple[str, str], float] = defaultdict(float)
    for each in all_demands:
        total = by_job[each.owner][each.job]
        if total > 0:
            part = of_job[each.owner, each.job] * each.wanted / total
            allocated[each.worker, each.job] += part
    return dict(allocated)
