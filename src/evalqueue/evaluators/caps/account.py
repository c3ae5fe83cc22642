"""The account of one attempt: its LLM calls are made once what they may use at most is reserved.

Reservations are in Postgres, so caps hold for all workers together. One statement reserves for all
calls of the attempt that wait, and for some later ones while much of the cap is left. What a call
did not use of its reservation is used for the next calls, or returned when none comes for a while.

Where the rest of a cap is too small for the next call, it waits until calls in flight are settled,
here and in other attempts: they use less than was reserved for them. If there are none, the cap is
reached.
"""

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Self

from evalqueue.evaluators.caps.ledger import CapGrant, CapLedger, Held, Refusal
from evalqueue.evaluators.caps.limits import in_dollars
from evalqueue.evaluators.caps.worst_case import NOTHING, CallAmount, CallAmounts
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest
from evalqueue.evaluators.providers.reservations import SetAside
from evalqueue.postgres.database import TRANSIENT
from evalqueue.telemetry import tasks

IDLE_SECONDS = 0.5  # without a call, after which what is spare is returned
POLL_SECONDS = 0.2  # between two looks at a cap that other attempts may leave more of
OVER_SECONDS = 1.0  # between two looks at an attempt that is over and about to be cancelled
CALLS_AT_ONCE = 256  # in one statement
EXTRA_CALLS = 8  # worst cases that are reserved for later calls

logger = logging.getLogger(__name__)


class CapReached(ProviderError):
    """A cap allows no further call."""

    def __init__(self, refusal: Refusal, owner: str) -> None:
        amount = in_dollars(refusal.limit) if refusal.is_usd else f"{refusal.limit:,} tokens"
        self.cap = (
            f"the monthly cap of {amount} for {owner}"
            if refusal.is_month
            else f"the cap of {amount}"
        )
        super().__init__(CallOutcome.BILLING, f"{self.cap} is reached")
        self.stops_the_job = True


@dataclass(slots=True, eq=False)
class CapReservation:
    """What is set aside for one call."""

    account: "CapAccount"
    amounts: CallAmounts
    worst: CallAmount
    granted: "asyncio.Future[None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    has_ended: bool = False

    def settle(self, result: Completion | ProviderError | None, /) -> None:
        """Report how an attempt that may be billed ended; see `Reservation.settle`."""
        self._end(self.amounts.used(result, worst=self.worst))

    def release(self) -> None:
        """Nothing was billed, unless it is settled."""
        self._end(NOTHING)

    def _end(self, used: CallAmount) -> None:
        if not self.has_ended:
            self.has_ended = True
            self.account.note_end(self.worst, used)


class CapAccount:
    """The reservations of one attempt at a job."""

    def __init__(self, ledger: CapLedger, amounts: CallAmounts) -> None:
        self.amounts = amounts
        self._ledger = ledger
        self._used = NOTHING
        self._reserved = NOTHING
        """For calls in flight."""
        self._in_flight = 0
        self._spare = NOTHING
        """Reserved, and not needed by the calls in flight."""
        self._month = ""
        self._before_month = NOTHING
        """What was used before this month began."""
        self._used_at_last = NOTHING
        """What was used when something was last reserved."""
        self._waiting: deque[CapReservation] = deque()
        self._is_open = False
        """Whether more is reserved in Postgres than was used."""
        self._reserving: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        """A call was settled, or waits."""
        self._refusal: Refusal | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reserving is not None:
            self._reserving.cancel()
            await asyncio.wait({self._reserving})
        if not self._is_open:
            return
        try:
            await self._ledger.settle(self._held(), month=self._month)
        except TRANSIENT:  # what is still reserved counts as used
            logger.warning("Job %s: reservations were not returned", self._ledger.job_id)

    async def reserve(self, request: CompletionRequest, /) -> CapReservation:
        """Wait until a call may be made.

        Raises:
            CapReached: a cap does not allow it.
        """
        return await self.reserve_amount(self.amounts.worst(request), self.amounts)

    async def set_aside(self, request: CompletionRequest, /, *, price_share: Decimal) -> SetAside:
        """Wait until a question may be put into a batch. What it may use at most counts as used.

        Raises:
            CapReached: a cap does not allow it.
        """
        return await self.set_aside_amount(self.amounts.worst(request), self.amounts, price_share)

    def of_model(self, amounts: CallAmounts) -> "ModelReservations":
        """Reservations for the calls of another model, from the same account."""
        return ModelReservations(self, amounts)

    async def reserve_amount(self, worst: CallAmount, amounts: CallAmounts) -> CapReservation:
        """Wait until so much may be used; `amounts` says what was used then.

        Raises:
            CapReached: a cap does not allow it.
        """
        if self._refusal is not None:
            raise CapReached(self._refusal, self._ledger.owner)
        reservation = CapReservation(self, amounts, worst)
        if not self._waiting and self._spare.covers(reservation.worst):
            self._spare -= reservation.worst
            self._begin(reservation)
            return reservation
        self._waiting.append(reservation)
        self._wake()
        try:
            await reservation.granted
        except asyncio.CancelledError:
            if reservation.granted.done() and not reservation.granted.cancelled():
                reservation.release()
            raise
        return reservation

    async def set_aside_amount(
        self, worst: CallAmount, amounts: CallAmounts, price_share: Decimal
    ) -> SetAside:
        """Wait until so much, at a share of its price, may be used. It counts as used.

        Raises:
            CapReached: a cap does not allow it.
        """
        worst = CallAmount(worst.usd * price_share, worst.tokens)
        (await self.reserve_amount(worst, amounts)).settle(None)
        return SetAside(usd=worst.usd, tokens=worst.tokens, month=self._month)

    def note_end(self, worst: CallAmount, used: CallAmount) -> None:
        """A call was settled."""
        self._in_flight -= 1
        self._reserved -= worst
        self._used += used
        self._spare += worst - used
        self._wake()

    def _begin(self, reservation: CapReservation) -> None:
        self._in_flight += 1
        self._reserved += reservation.worst

    def _held(self) -> Held:
        amount = self._used + self._reserved
        return Held(amount=amount, in_this_month=amount - self._before_month)

    def _wake(self) -> None:
        self._changed.set()
        is_idle = not self._waiting and not (self._is_open and not self._in_flight)
        if not is_idle and (self._reserving is None or self._reserving.done()):
            self._reserving = tasks.start(self._keep(), name="cap reservations")

    async def _keep(self) -> None:
        """Reserve for the calls that wait; return what is reserved when there have been none."""
        try:
            while True:
                while self._waiting:
                    await self._reserve_once()
                if self._in_flight or not self._is_open:
                    return
                await self._until_changed(IDLE_SECONDS)
                if not self._waiting and not self._in_flight:
                    await self._return()
        except Exception as error:
            if not self._waiting:
                raise  # no call gets it
            self._refuse_all(error)

    async def _return(self) -> None:
        """Hold no more than was used: other attempts may wait for the rest."""
        self._spare = NOTHING
        held = self._held()
        await self._ledger.database.retry_transient(
            lambda: self._ledger.settle(held, month=self._month), what=f"Job {self._ledger.job_id}"
        )
        self._is_open = False

    async def _until_changed(self, seconds: float) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _reserve_once(self) -> None:
        count = min(len(self._waiting), CALLS_AT_ONCE)
        asked = [self._waiting.popleft() for _ in range(count)]
        asked = [each for each in asked if not each.granted.done()]
        self._changed.clear()
        grant = None
        try:
            if asked:
                grant = await self._ask(asked)
        finally:
            granted = 0 if grant is None else grant.calls
            self._grant(asked[:granted])
            left = [each for each in asked[granted:] if not each.granted.done()]
            self._waiting.extendleft(reversed(left))
        if not left:
            return
        if grant is None:
            await asyncio.sleep(OVER_SECONDS)
        elif grant.refusal is not None:
            await self._wait_for_more(grant.refusal)

    async def _ask(self, asked: list[CapReservation]) -> CapGrant | None:
        worst = [each.worst for each in asked]
        dearest = CallAmount(max(each.usd for each in worst), max(each.tokens for each in worst))

        async def ask() -> CapGrant | None:
            # What is spare is asked for anew: a repeated statement says the same.
            self._spare = NOTHING
            self._is_open = True
            return await self._ledger.reserve(
                self._held(), worst, extra=dearest * EXTRA_CALLS, in_flight=self._in_flight
            )

        grant = await self._ledger.database.retry_transient(ask, what=f"Job {self._ledger.job_id}")
        if grant is None:
            return None
        if grant.month != self._month:
            self._before_month = self._used_at_last
            self._month = grant.month
        self._used_at_last = self._used
        if grant.has_extra:
            self._spare += dearest * EXTRA_CALLS
        return grant

    def _grant(self, reservations: list[CapReservation]) -> None:
        for each in reservations:
            if each.granted.done():  # its call was cancelled meanwhile
                self._spare += each.worst
            else:
                self._begin(each)
                each.granted.set_result(None)

    async def _wait_for_more(self, refusal: Refusal) -> None:
        """Wait until the cap may have more, or refuse every call from now on."""
        if not self._in_flight and not refusal.others_may_free:
            self._refusal = refusal
            self._refuse_all(None)
            return
        if not self._changed.is_set():
            await self._until_changed(POLL_SECONDS)

    def _refuse_all(self, error: Exception | None) -> None:
        while self._waiting:
            each = self._waiting.popleft()
            if each.granted.done():
                continue
            if error is None and self._refusal is not None:
                # A new error each time: one shared by many tasks would collect their tracebacks.
                each.granted.set_exception(CapReached(self._refusal, self._ledger.owner))
            elif error is not None:
                each.granted.set_exception(error)


class ModelReservations:
    """The reservations for the calls of another model than the job's."""

    def __init__(self, account: CapAccount, amounts: CallAmounts) -> None:
        self._account = account
        self._amounts = amounts

    async def reserve(self, request: CompletionRequest, /) -> CapReservation:
        """Wait until a call may be made.

        Raises:
            CapReached: a cap does not allow it.
        """
        return await self._account.reserve_amount(self._amounts.worst(request), self._amounts)

    async def set_aside(self, request: CompletionRequest, /, *, price_share: Decimal) -> SetAside:
        """Wait until a question may be put into a batch. What it may use at most counts as used.

        Raises:
            CapReached: a cap does not allow it.
        """
        return await self._account.set_aside_amount(
            self._amounts.worst(request), self._amounts, price_share
        )
