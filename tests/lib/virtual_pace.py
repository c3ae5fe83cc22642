"""Calls to a vendor that refuses some, at the pace of the real ledger, in virtual time."""

import heapq
import json
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from evalqueue.evaluators.pace.calls import Permit
from evalqueue.evaluators.pace.exchanges import HURRY_SECONDS
from evalqueue.evaluators.pace.permits import EXCHANGE_SECONDS
from evalqueue.evaluators.providers.provider import LlmCredential

START = datetime(2026, 1, 1, tzinfo=UTC)
LABEL = "openai/gpt-x"
KEY = LlmCredential.of("openai", "gpt-x", secret="sk-made-up").key

TICK_SECONDS = 0.02
ANSWER_SECONDS = 0.3
REFUSAL_SECONDS = 0.05
ADMITTED_AFTER_SECONDS = 0.25
CONCURRENT = 64


class Ledger:
    """`evalqueue_pace` at moments of the test's choice."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        connection.execute("TRUNCATE llm_credentials CASCADE")
        self.last: dict[str, Any] = {"epoch": 0}

    def __call__(self, at: float, worker: str = "w1", **request: Any) -> dict[str, Any]:
        job = {"job": worker, "owner": worker, "waiting": 9, "in_flight": 1, "wanted": 99}
        request = {
            "epoch": self.last["epoch"], "ahead": 0.75, "breaker": 10, "waiting": 9, "jobs": [job],
        } | request  # fmt: skip
        row = self.connection.execute(
            "SELECT evalqueue_pace(%s, %s, %s, %s::jsonb, %s)",
            [KEY, LABEL, worker, json.dumps(request), START + timedelta(seconds=at)],
        ).fetchone()
        assert row is not None
        self.last = row[0]
        return self.last

    def answer_probe(self, at: float) -> None:
        """The first call of a credential is made alone."""
        assert self(at, wanted=5)["granted"] == 1
        self(at, probe="answered", answered=1, succeeded=True)


class Vendor:
    """Admits or refuses calls at given moments."""

    def __init__(
        self,
        *,
        per_second: float = math.inf,
        window: float | None = None,
        capacity: float = math.inf,
        is_telling: bool = False,
        refused_share: float = 0.0,
        seed: int = 1,
    ) -> None:
        """Make one.

        Args:
            is_telling: whether a refusal says when the next window begins.
            refused_share: of all calls, at random, however many there are.
        """
        self.per_second = per_second
        self.refused_share = refused_share
        self._is_telling = is_telling
        self._window = window
        self.capacity = capacity
        self._left = capacity
        self._at = 0.0
        self._random = random.Random(seed)  # noqa: S311  no secret
        self.admitted: deque[float] = deque()
        self.refused: deque[float] = deque()

    def call(self, at: float) -> bool:
        is_admitted = self._random.random() >= self.refused_share and self._within_limit(at)
        (self.admitted if is_admitted else self.refused).append(at)
        return is_admitted

    def retry_after(self, at: float) -> float | None:
        if self._window is None or not self._is_telling:
            return None
        return math.ceil(self._window - at % self._window)

    def _within_limit(self, at: float) -> bool:
        if self.per_second == math.inf:
            return True
        if self._window is None:
            self._left = min(self.capacity, self._left + (at - self._at) * self.per_second)
        elif int(at / self._window) != int(self._at / self._window):
            self._left = self.per_second * self._window
        self._at = at
        if self._left < 1:
            return False
        self._left -= 1
        return True


def endless() -> Iterator[float]:
    """Calls that are all there from the beginning."""
    while True:
        yield 0.0


def steady(per_second: float) -> Iterator[float]:
    number = 0
    while True:
        yield number / per_second
        number += 1


def bursts(calls: int, every_seconds: float) -> Iterator[float]:
    number = 0
    while True:
        yield number // calls * every_seconds
        number += 1


@dataclass(order=True)
class Flight:
    """A call that is under way."""

    over_at: float
    is_admitted: bool = field(compare=False)
    epoch: int = field(compare=False)
    retry_after: float | None = field(compare=False)
    is_counted: bool = field(compare=False, default=False)


class Process:
    """One worker process: what it does with permits, and when it reports."""

    def __init__(self, ledger: Ledger, vendor: Vendor, worker: str, calls: Iterator[float]) -> None:
        self._ledger = ledger
        self._vendor = vendor
        self._worker = worker
        self._calls = calls
        self._next_call = next(calls)
        self.waiting = 0
        self._permits: deque[Permit] = deque()
        self._flights: list[Flight] = []
        self._grant: dict[str, Any] = {"epoch": 0, "is_probing": True, "is_limit_known": False}
        self._held_for = -1
        self._probe: Flight | None = None
        self._probe_since = 0.0
        self._exchanged_at = -math.inf
        self._ask_at = 0.0
        self._is_urgent = False
        self._dispatched = 0
        self._dispatch_rate = 0.0
        self._report: dict[str, Any] = {}
        self.pace = 0.0

    def tick(self, now: float) -> None:
        while self._next_call <= now and self.waiting + len(self._flights) < CONCURRENT:
            self.waiting += 1
            self._next_call = next(self._calls)
        while self._flights and self._flights[0].over_at <= now:
            self._end(heapq.heappop(self._flights))
        self._admit_probe(now)
        self._dispatch(now)
        since = now - self._exchanged_at
        is_short = self.waiting > 0 and not self._permits and now >= self._ask_at
        if since >= EXCHANGE_SECONDS or self._is_urgent or (is_short and since >= HURRY_SECONDS):
            self._exchange(now)

    def _admit_probe(self, now: float) -> None:
        """Take the call that is made alone for admitted, if it was not refused by now."""
        if self._probe is None or self._grant["pause_kind"] != "refused":
            return
        if now - self._probe_since >= ADMITTED_AFTER_SECONDS:
            self._probe.is_counted = True
            self._probe = None
            self._count("answered")
            self._report["probe"] = "answered"
            self._is_urgent = True

    def _count(self, name: str) -> None:
        self._report[name] = self._report.get(name, 0) + 1

    def _end(self, flight: Flight) -> None:
        if flight is self._probe:
            self._probe = None
            self._report["probe"] = "answered" if flight.is_admitted else "refused"
            self._is_urgent = True
        if flight.is_admitted:
            if not flight.is_counted:
                self._count("answered")
            self._report["succeeded"] = True
            return
        self.waiting += 1
        if flight.epoch == self._grant["epoch"]:
            self._count("refused")
            self._report["retry_after"] = flight.retry_after
            self._held_for = flight.epoch
            self._is_urgent = True

    def _dispatch(self, now: float) -> None:
        while self.waiting and self._permits and self._permits[0].at <= now:
            if self._held_for == self._grant["epoch"]:
                return
            permit = self._permits.popleft()
            is_admitted = self._vendor.call(now)
            seconds = ANSWER_SECONDS if is_admitted else REFUSAL_SECONDS
            retry_after = self._vendor.retry_after(now)
            flight = Flight(now + seconds, is_admitted, permit.epoch, retry_after)
            heapq.heappush(self._flights, flight)
            self.waiting -= 1
            self._dispatched += 1
            if permit.is_probe:
                self._probe, self._probe_since = flight, now

    def _exchange(self, now: float) -> None:
        """Report, and take permits."""
        report, self._report = self._report, {}
        self._is_urgent = False
        calls = self.waiting + len(self._flights)
        self._return_unused(report, now, are_all_unused=not calls)
        if self._probe is not None or any(each.is_probe for each in self._permits):
            report["probe"] = "held"
        ahead = 0.75 if self._grant["is_limit_known"] else 0.3
        job = {
            "job": self._worker, "owner": self._worker, "waiting": self.waiting,
            "in_flight": len(self._flights), "wanted": calls / ANSWER_SECONDS,
        }  # fmt: skip
        grant = self._ledger(
            now, self._worker, wanted=self._wanted(now, ahead) if calls else 0, ahead=ahead,
            epoch=self._grant["epoch"], waiting=self.waiting, jobs=[job] if calls else [], **report,
        )  # fmt: skip
        if grant["epoch"] != self._grant["epoch"]:
            self._report.pop("refused", None)
        if not self._report.get("refused"):
            self._held_for = -1
        self._grant, self._exchanged_at, self.pace = grant, now, grant["rate"]
        self._add_permits(now)
        soon = grant["first_in"] + grant["granted"] * grant["step"] - ahead
        if grant["is_probing"] and not grant["granted"]:
            soon = grant["first_in"]
        self._ask_at = now + min(max(soon, 0.0), EXCHANGE_SECONDS)

    def _return_unused(self, report: dict[str, Any], now: float, *, are_all_unused: bool) -> None:
        while self._permits and (are_all_unused or self._permits[0].at < now - EXCHANGE_SECONDS):
            permit = self._permits.popleft()
            if permit.is_probe:
                report["probe"] = "dropped"
            else:
                report["returned_seconds"] = report.get("returned_seconds", 0.0) + permit.step

    def _wanted(self, now: float, ahead: float) -> int:
        elapsed = max(now - self._exchanged_at, HURRY_SECONDS)
        self._dispatch_rate += 0.5 * (self._dispatched / elapsed - self._dispatch_rate)
        self._dispatched = 0
        if self._grant["is_probing"]:
            is_idle = self._probe is None and not self._permits
            return min(self.waiting, 1) if is_idle else 0
        return max(0, self.waiting + math.ceil(self._dispatch_rate * ahead) - len(self._permits))

    def _add_permits(self, now: float) -> None:
        grant = self._grant
        if grant["is_probing"] or (self._permits and self._permits[-1].epoch != grant["epoch"]):
            kept = [each for each in self._permits if each.is_probe]
            self._permits = deque(each for each in kept if each.epoch == grant["epoch"])
        for number in range(grant["granted"]):
            at = now + max(0.0, grant["first_in"] + number * grant["step"])
            step = 1 / grant["rate"]
            permit = Permit(at, grant["epoch"], is_probe=grant["is_probe"], step=step, tokens=0)
            self._permits.append(permit)


def work(
    *processes: Process,
    begin: float = 0.0,
    until: float,
    note: Callable[[float], None] = lambda _pace: None,
) -> None:
    """Let time pass. `note` is called with the pace once a second."""
    for tick in range(round((until - begin) / TICK_SECONDS)):
        now = begin + tick * TICK_SECONDS
        for each in processes:
            each.tick(now)
        if tick % round(1 / TICK_SECONDS) == 0:
            note(processes[0].pace)
