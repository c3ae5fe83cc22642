"""How many calls one process may have in flight with a credential."""

import math

from evalqueue.evaluators.pace.ledger import Grant
from evalqueue.evaluators.pace.shares import fair_shares
from evalqueue.evaluators.pace.wishes import BREAKER_FAILURES

CAUTIOUS_FAILURES = 3  # in a row, from which on fewer calls are in flight


def within_failures(failures: int) -> float:
    """The bound after failures in a row: what the breaker still needs to open, and at least one."""
    if failures < CAUTIOUS_FAILURES:
        return math.inf
    return max(1, BREAKER_FAILURES - failures)


def within_limit(limit: int | None, grant: Grant | None, *, worker: str, own_calls: int) -> float:
    """This process' share of the calls that all workers together may have in flight."""
    if limit is None:
        return math.inf
    calls: dict[str, float] = {worker: float(own_calls)}
    for each in grant.demands if grant else ():
        if each.worker != worker:
            calls[each.worker] = calls.get(each.worker, 0.0) + each.waiting + each.in_flight
    return max(1.0, math.floor(fair_shares(calls, limit)[worker]))
