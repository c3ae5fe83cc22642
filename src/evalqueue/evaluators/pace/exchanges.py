"""The exchanges of one process with the ledger: it reports, and takes permits."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

from evalqueue.evaluators.pace.calls import CallQueue, PacedTurn
from evalqueue.evaluators.pace.in_flight import CallSlots
from evalqueue.evaluators.pace.ledger import Grant, Ledger, PermitRequest, Report
from evalqueue.evaluators.pace.limits import ModelLimits
from evalqueue.evaluators.pace.outcomes import PendingReport
from evalqueue.evaluators.pace.permit_requests import demands, permit_request
from evalqueue.evaluators.pace.permits import EXCHANGE_SECONDS, PermitStock
from evalqueue.evaluators.pace.shares import allocate
from evalqueue.telemetry import tasks
from evalqueue.telemetry.logs import LoggedError

LOCKED_SECONDS = 0.02  # until the next try, when another process has the row
HURRY_SECONDS = 0.05  # between exchanges that are made before their time
AHEAD_SECONDS = 0.75  # of permits
AHEAD_STARTING_SECONDS = 0.3  # while the limit is unknown, and so the spacing changes quickly
AWAY_SECONDS = 1.0  # without an answer of the ledger, after which a process goes on by itself

logger = logging.getLogger(__name__)


class Exchanges:
    """When a process exchanges with the ledger, and what it knows from that."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        label: str,
        worker: str,
        limits: ModelLimits,
        away: tuple[type[Exception], ...],
        queues: Sequence[CallQueue],
        permits: PermitStock,
        outcomes: PendingReport,
        wake: asyncio.Event,
        on_success: Callable[[float], None],
    ) -> None:
        """The queues, permits and outcomes are those of the pace, which changes them.

        Args:
            away: what the ledger raises while it can't be reached.
            wake: set when something has changed.
            on_success: called with the moment of the last answer to any process.
        """
        self.grant: Grant | None = None
        self.granted_at = 0.0
        self.probe: PacedTurn | None = None
        """The call that is made alone, while this process makes it."""
        self.held_for_epoch: int | None = None
        """The epoch in which no more calls are sent."""
        self.dispatched = 0
        """Calls since the last exchange."""
        self.exchanging: asyncio.Task[None] | None = None
        self.is_urgent = False
        self.slots = CallSlots(limits.concurrent, worker)
        self._dispatch_rate = 0.0
        self.exchanged_at = -math.inf
        self.ask_at = 0.0
        self._ledger = ledger
        self._label = label
        self._worker = worker
        self._limits = limits
        self._away = away
        self._queues = queues
        self._permits = permits
        self._outcomes = outcomes
        self._wake = wake
        self._on_success = on_success

    def moments(self, now: float, *, is_short: bool) -> list[float]:
        """When there is something to do.

        Args:
            is_short: whether calls wait without a permit.
        """
        moments = [self.exchanged_at + EXCHANGE_SECONDS]
        if is_short:
            moments.append(max(self.ask_at, self.exchanged_at + HURRY_SECONDS))
        if self.is_urgent:
            moments.append(self.exchanged_at + LOCKED_SECONDS)
        if self.exchanging is not None:  # it wakes the process
            return [each for each in moments if each > now] or [now + AWAY_SECONDS / 4]
        return moments

    def hurry(self) -> None:
        """Exchange before the time."""
        self.is_urgent = True
        self._wake.set()

    def begin_if_due(self, now: float) -> None:
        """Begin an exchange, or go on alone if the one under way takes too long."""
        if self.exchanging is not None:
            if now - self.exchanged_at > AWAY_SECONDS:
                self._go_on_alone(now)
            return
        since = now - self.exchanged_at
        is_short = (
            sum(len(each.waiters) for each in self._queues) > 0
            and not self._permits
            and now >= self.ask_at
        )
        is_due = since >= EXCHANGE_SECONDS or (is_short and since >= HURRY_SECONDS)
        if is_due or (self.is_urgent and since >= LOCKED_SECONDS):
            self.begin()

    def begin(self) -> None:
        """Begin an exchange now."""
        self.exchanged_at = time.monotonic()
        self.exchanging = tasks.start(self._exchange_once(), name="pace exchange")

    async def _exchange_once(self) -> None:
        try:
            await self._exchange()
        except Exception as error:  # the calls go on, at the pace that is known
            logger.exception(
                "The pace of %s can't be shared", self._label, exc_info=LoggedError.of(error)
            )
            self._go_on_alone(time.monotonic())
        finally:
            self.exchanging = None
            self._wake.set()

    async def _exchange(self) -> None:
        """Report, and take permits."""
        began = time.monotonic()
        report, wanted = self._take_report(), self._permit_request(began)
        self.is_urgent = False
        try:
            grant = await self._ledger.exchange(self._worker, report, wanted)
        except self._away as error:
            self._outcomes.report.add_earlier(report)
            if not self._permits.local.is_on:
                logger.warning("The pace of %s waits for Postgres: %s", self._label, error)
            self._go_on_alone(time.monotonic())
            return
        except BaseException:
            self._outcomes.report.add_earlier(report)
            raise
        if grant is None:
            self._outcomes.report.add_earlier(report)
            self.is_urgent = True
            return
        self._use(grant, wanted)

    def _take_report(self) -> Report:
        """What is to be reported; permits that were not used in time are given back."""
        report = self._outcomes.take(self.grant)
        self._permits.return_unused(
            report, time.monotonic(), are_all_unused=not any(each.calls for each in self._queues)
        )
        if self.probe is not None or self._permits.has_probe:
            report.probe = "held"
        return report

    def _permit_request(self, now: float) -> PermitRequest:
        grant = self.grant
        elapsed = max(now - self.granted_at, 0.05)
        self._dispatch_rate += 0.5 * (self.dispatched / elapsed - self._dispatch_rate)
        self.dispatched = 0
        is_known = grant is not None and grant.is_limit_known
        ahead = AHEAD_SECONDS if is_known else AHEAD_STARTING_SECONDS
        waiting = sum(len(each.waiters) for each in self._queues)
        wanted = max(0, waiting + math.ceil(self._dispatch_rate * ahead) - len(self._permits))
        if not any(each.calls for each in self._queues):
            wanted = 0
        wanted = self._permits.within_share(wanted, now, ahead)
        if grant is not None and grant.is_probing:
            wanted = min(waiting, 1) if self.probe is None and not self._permits else 0
        averages = self._outcomes.averages
        return permit_request(
            wanted,
            ahead_seconds=ahead,
            jobs=demands(self._queues, self._worker, averages),
            averages=averages,
            limits=self._limits,
            slots=self.slots.ask(grant, has_calls=any(each.calls for each in self._queues)),
        )

    def _use(self, grant: Grant, wanted: PermitRequest) -> None:
        """Take over what the ledger says."""
        now = time.monotonic()
        if self._permits.local.is_on:
            logger.info("The pace of %s is shared again", self._label)
            self._permits.local.is_on = False
        if self.grant is not None and grant.epoch != self.grant.epoch:
            self._outcomes.report.refused = 0  # of calls of an earlier epoch, which say nothing new
        self.grant, self.granted_at = grant, now
        if grant.succeeded_ago is not None:
            self._on_success(now - grant.succeeded_ago)
        if not self._outcomes.report.refused:
            self.held_for_epoch = None
        self.slots.take(grant.slots, wanted.slots)
        self._permits.add(grant, wanted.tokens_each, now)
        self._share_out(grant, now)
        self.ask_at = now + self._permits.next_request_in(grant, wanted.ahead_seconds, now)
        self._wake.set()

    def _share_out(self, grant: Grant, now: float) -> None:
        """What each job here gets, and this process in all."""
        shares = allocate(grant.demands, self._outcomes.call_rate(grant))
        ours = 0.0
        for queue in self._queues:
            share = shares.get((self._worker, queue.job))
            if share is not None:
                queue.weight = max(share, 1e-6)
                ours += share
        has_others = any(each.worker != self._worker and each.waiting for each in grant.demands)
        self._permits.set_share(grant, ours, now, has_others=has_others)

    def _go_on_alone(self, now: float) -> None:
        """Go on at this process' part of the last known rate, until the ledger answers."""
        grant = self.grant
        if self._permits.local.is_on or grant is None:
            return
        is_held = self.held_for_epoch == grant.epoch
        self._permits.go_on_alone(grant, self._worker, now, is_held=is_held)
