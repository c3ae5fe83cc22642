"""How many calls one process may have in flight with a credential."""

import math
import random

from evalqueue.evaluators.pace.ledger import Grant
from evalqueue.evaluators.pace.permit_requests import BREAKER_FAILURES
from evalqueue.evaluators.pace.shares import fair_shares

CAUTIOUS_FAILURES = 3  # in a row, from which on fewer calls are in flight


def within_failures(failures: int) -> float:
    """The bound after failures in a row: what the breaker still needs to open, and at least one."""
    if failures < CAUTIOUS_FAILURES:
        return math.inf
    return max(1, BREAKER_FAILURES - failures)


class CallSlots:
    """This process' part of the calls that all workers together may have in flight.

    The ledger gives parts that are never more than the limit together. A process keeps to what it
    asks for from the moment on when it asks, since the ledger may give the rest to others at once.
    """

    def __init__(self, limit: int | None, worker: str) -> None:
        """`limit`: of the settings. None: there is none."""
        self._limit = limit
        self._worker = worker
        self._slots = 0

    @property
    def most(self) -> float:
        """How many calls may be in flight here."""
        return math.inf if self._limit is None else self._slots

    def ask(self, grant: Grant | None, *, has_calls: bool) -> int:
        """What this process wants: its fair share. A fraction of a slot is one as often as that,
        so that it goes around where there are fewer slots than processes."""
        if self._limit is None or not has_calls:
            self._slots = 0
            return 0
        calls: dict[str, float] = {self._worker: float(self._limit)}
        for each in grant.demands if grant else ():
            if each.worker != self._worker:
                calls[each.worker] = calls.get(each.worker, 0.0) + each.waiting + each.in_flight
        share = fair_shares(calls, self._limit)[self._worker]
        wanted = math.floor(share + random.random())  # noqa: S311  no secret
        self._slots = min(self._slots, wanted)
        return wanted

    def take(self, granted: int | None, wanted: int) -> None:
        """Take over what the ledger gives: more than is wanted only for calls in flight."""
        self._slots = min(granted or 0, wanted)
