"""The pace of one credential in one process: turns for the calls of all its jobs.

Permits come from the ledger, which all processes share, some tenths of a second ahead; each is for
one call at one moment. A permit goes to the job that is furthest behind its fair share (start-time
fair queueing, Goyal et al., SIGCOMM 1996), and within the job to the call that has waited longest.
While Postgres is away, the process goes on by itself at its part of the last known rate.
"""

import asyncio
import contextlib
import contextvars
import math
import time
from collections.abc import Callable

from evalqueue.evaluators.pace.calls import CallQueue, PacedTurn, Waiter
from evalqueue.evaluators.pace.display import fail_overdue, show
from evalqueue.evaluators.pace.exchanges import Exchanges
from evalqueue.evaluators.pace.in_flight import CAUTIOUS_FAILURES, within_failures
from evalqueue.evaluators.pace.ledger import Ledger
from evalqueue.evaluators.pace.limits import ModelLimits
from evalqueue.evaluators.pace.outcomes import (
    PendingReport,
    is_refused,
    is_too_large,
    is_unanswered,
    may_concern_all,
)
from evalqueue.evaluators.pace.permits import EXCHANGE_SECONDS, PermitStock
from evalqueue.evaluators.pace.waiting import Wait
from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.provider import Completion, LlmCredential
from evalqueue.telemetry import tasks

IDLE_SECONDS = 2.0  # without a call, after which nothing runs any more
CHARACTERS_PER_TOKEN = 4


class Pace:
    """The pace of one credential in this process."""

    def __init__(
        self,
        credential: LlmCredential,
        ledger: Ledger,
        *,
        worker: str,
        limits: ModelLimits,
        away: tuple[type[Exception], ...] = (),
        on_turn: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """Make one.

        Args:
            credential: whose pace it is.
            ledger: gives permits.
            worker: this process, in the ledger.
            limits: of the model, as far as they are known.
            away: what the ledger raises while it can't be reached.
            on_turn: called with the seconds that a call waited for its turn.
        """
        self.credential = credential
        self.answered_at = -math.inf
        """When a call was answered last, as far as this process knows."""
        self._on_turn = on_turn
        self._queues: list[CallQueue] = []
        self._permits = PermitStock()
        self._outcomes = PendingReport()
        self._wake = asyncio.Event()
        self._exchanges = Exchanges(
            ledger,
            label=credential.label,
            worker=worker,
            limits=limits,
            away=away,
            queues=self._queues,
            permits=self._permits,
            outcomes=self._outcomes,
            wake=self._wake,
            on_success=self._note_success,
        )
        self._virtual_time = 0.0
        self._has_left = False
        self._shown_at = 0.0
        self._used_at = time.monotonic()
        self._running: asyncio.Task[None] | None = None

    def queue(
        self,
        *,
        job: str,
        owner: str,
        max_wait_seconds: float | None = None,
        on_wait: Callable[[Wait | None], None] = lambda _wait: None,
    ) -> CallQueue:
        """A queue for the calls of one attempt at a job. It has to be closed.

        Args:
            job: its id; helper jobs have the id of the job that they help.
            max_wait_seconds: how long the job may go without an answer.
            on_wait: called about twice a second while the job waits, and with None afterwards.
        """
        queue = CallQueue(
            self, job=job, owner=owner, max_wait_seconds=max_wait_seconds, on_wait=on_wait
        )
        queue.virtual_time = self._virtual_time
        self._queues.append(queue)
        return queue

    def leave(self, queue: CallQueue) -> None:
        if queue in self._queues:
            self._queues.remove(queue)
        self._wake.set()

    async def turn(self, queue: CallQueue, characters: int, *, is_repeated: bool) -> PacedTurn:
        """Wait for a turn."""
        now = time.monotonic()
        tokens = characters / CHARACTERS_PER_TOKEN + self._outcomes.averages.output_tokens
        self._outcomes.averages.note_request(tokens)
        if not queue.calls:
            queue.moved_at = now
        if not queue.waiters:
            queue.virtual_time = max(queue.virtual_time, self._virtual_time)
        waiter = Waiter(asyncio.get_running_loop().create_future(), tokens, now)
        if is_repeated:
            queue.waiters.appendleft(waiter)
        else:
            queue.waiters.append(waiter)
        self._used_at = now
        self._has_left = False
        self._dispatch(now)
        if not waiter.turn.done():
            self._start()
        try:
            turn = await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled() and not waiter.turn.exception():
                waiter.turn.result().end(None)
            raise
        finally:
            # One that was given a turn has left the queue already: it is not looked for there.
            if waiter.turn.cancelled() or waiter.turn.exception() is not None:
                with contextlib.suppress(ValueError):
                    queue.waiters.remove(waiter)
        self._on_turn(time.monotonic() - waiter.since)
        return turn

    def note_end(self, turn: PacedTurn, result: Completion | ProviderError | None) -> None:
        """Count how an attempt ended."""
        now = time.monotonic()
        turn.queue.in_flight -= 1
        outcomes = self._outcomes
        outcomes.note_limits(result)
        ended = "dropped"
        if isinstance(result, ProviderError) and is_refused(result):
            self._note_refusal(turn, result, now)
            ended = "refused"
        elif isinstance(result, ProviderError) and is_unanswered(result):
            outcomes.note_failure(result)
            ended = "failed"
            if outcomes.failures(self._exchanges.grant) >= CAUTIOUS_FAILURES:
                self._exchanges.hurry()
        elif result is not None:
            outcomes.note_answer(turn, result, now)
            if not may_concern_all(result):
                ended = "answered"
                turn.queue.answered += 1
                turn.queue.moved_at = self.answered_at = now
                outcomes.report.succeeded = True
        if turn is self._exchanges.probe:
            self._exchanges.probe = None
            outcomes.report.probe = ended
            self._exchanges.hurry()
        elif is_too_large(result):  # the others need not wait for its tokens
            self._exchanges.hurry()
        if ended in ("refused", "dropped"):
            outcomes.report.token_change -= turn.tokens
        if self._waiting:
            self._wake.set()

    def _note_success(self, moment: float) -> None:
        self.answered_at = max(self.answered_at, moment)

    def _note_refusal(self, turn: PacedTurn, error: ProviderError, now: float) -> None:
        self._outcomes.note_refusal_latency(now - turn.began)
        if self._permits.local.is_on:
            self._permits.note_local_refusal(error.retry_after, now)
        elif self._exchanges.grant is None or turn.permit.epoch == self._exchanges.grant.epoch:
            self._outcomes.note_refusal(error)
            # Nothing more is sent in this epoch: the ledger says when the next one begins.
            self._exchanges.held_for_epoch = turn.permit.epoch
            self._exchanges.hurry()

    def _start(self) -> None:
        self._wake.set()
        if self._running is None or self._running.done():
            # Of no job: it is the pace of others, too.
            self._running = tasks.start(
                self._run(), name=f"pace {self.credential.label}", context=contextvars.Context()
            )

    async def aclose(self) -> None:
        """Stop. Waiting calls are cancelled."""
        for task in (self._running, self._exchanges.exchanging):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        for queue in self._queues:
            for waiter in queue.waiters:
                waiter.turn.cancel()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            now = time.monotonic()
            if self._is_idle(now):
                if self._exchanges.exchanging is None and self._has_left:
                    return
                if self._exchanges.exchanging is None:  # so that the others know at once
                    self._has_left = True
                    self._exchanges.begin()
            self._admit_probe(now)
            self._dispatch(now)
            self._exchanges.begin_if_due(now)
            fail_overdue(self._queues, self._exchanges.grant, label=self.credential.label, now=now)
            self._show(now)
            delay = self._delay(time.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()

    def _is_idle(self, now: float) -> bool:
        return now - self._used_at > IDLE_SECONDS and not self._has_calls

    def _delay(self, now: float) -> float:
        """Seconds until there is something to do."""
        waiting, first_at = self._waiting, self._permits.first_at
        moments = self._exchanges.moments(now, is_short=waiting > 0 and first_at is None)
        if waiting:
            if first_at is not None and self._may_dispatch():
                moments.append(first_at)
            local = self._permits.local
            if local.is_on:
                moments.append(max(local.next_at, local.held_until))
        return min(max(min(moments) - now, 0.001), EXCHANGE_SECONDS)

    @property
    def _has_calls(self) -> bool:
        return any(each.calls for each in self._queues)

    @property
    def _waiting(self) -> int:
        return sum(len(each.waiters) for each in self._queues)

    @property
    def _in_flight(self) -> int:
        return sum(each.in_flight for each in self._queues)

    def _may_dispatch(self) -> bool:
        """Whether this process may send one more call now."""
        grant, in_flight = self._exchanges.grant, self._in_flight
        if self._permits.local.is_on:
            if grant is not None and grant.is_probing and in_flight:
                return False
        elif grant is not None and grant.epoch == self._exchanges.held_for_epoch:
            return False
        failures = self._outcomes.failures(grant)
        return in_flight < min(within_failures(failures), self._exchanges.slots.most)

    def _dispatch(self, now: float) -> None:
        """Give turns to waiting calls, for the permits whose moment has come."""
        while self._waiting and self._may_dispatch():
            permit = self._permits.take(
                now, 0 if self._exchanges.grant is None else self._exchanges.grant.epoch
            )
            if permit is None:
                return
            queue = min(
                (each for each in self._queues if each.waiters), key=lambda each: each.virtual_time
            )
            waiter = queue.waiters.popleft()
            if waiter.turn.done():  # cancelled
                self._permits.put_back(permit)
                continue
            turn = PacedTurn(self, queue, permit, waiter.tokens)
            if permit.is_probe:
                self._exchanges.probe = turn
            queue.in_flight += 1
            self._virtual_time = queue.virtual_time
            queue.virtual_time += 1 / max(queue.weight, 1e-6)
            self._exchanges.dispatched += 1
            self._used_at = now
            self._outcomes.report.token_change += waiter.tokens - permit.tokens
            waiter.turn.set_result(turn)

    def _admit_probe(self, now: float) -> None:
        """Take the call that is made alone for admitted, if it was not refused by now."""
        probe, grant = self._exchanges.probe, self._exchanges.grant
        if probe is None or grant is None:
            return
        if now - probe.began < self._outcomes.admitted_after_seconds(grant):
            return
        self._exchanges.probe = None
        self._outcomes.note_admitted_probe(probe, grant)
        self._exchanges.hurry()

    def _show(self, now: float) -> None:
        grant = self._exchanges.grant
        if now - self._shown_at < EXCHANGE_SECONDS or grant is None:
            return
        self._shown_at = now
        next_at = self._permits.first_at
        show(
            self._queues,
            grant,
            label=self.credential.label,
            call_rate=self._outcomes.call_rate(grant),
            next_at=self._exchanges.granted_at + grant.first_in if next_at is None else next_at,
        )
