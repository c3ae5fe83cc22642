"""The pace of one credential in one process: turns for the calls of all its jobs.

Permits come from the ledger, which all processes share, some tenths of a second ahead; each is for
one call at one moment. A permit goes to the job that is furthest behind its fair share (start-time
fair queueing, Goyal et al., SIGCOMM 1996), and within the job to the call that has waited longest.
While Postgres is away, the process goes on by itself at its part of the last known rate.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable

from evalqueue.evaluators.pace.calls import (
    SMOOTHING,
    Averages,
    CallQueue,
    LocalPace,
    PacedTurn,
    Permit,
    Waiter,
)
from evalqueue.evaluators.pace.ledger import Grant, Ledger, Report, Wish
from evalqueue.evaluators.pace.limits import ModelLimits
from evalqueue.evaluators.pace.shares import Demand, allocate, fair_shares
from evalqueue.evaluators.pace.waiting import Wait
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import Completion, LlmCredential

EXCHANGE_SECONDS = 0.5  # between reports, while there is something to report
LOCKED_SECONDS = 0.02  # until the next try, when another process has the row
HURRY_SECONDS = 0.05  # between exchanges that are made before their time
AHEAD_SECONDS = 0.75  # of permits
AHEAD_STARTING_SECONDS = 0.3  # while the limit is unknown, and so the spacing changes quickly
AWAY_SECONDS = 1.0  # without an answer of the ledger, after which a process goes on by itself
IDLE_SECONDS = 2.0  # without a call, after which nothing runs any more
LOCAL_DECREASE = 0.85  # of the rate, for each refusal, while the process goes on by itself
LOCAL_BURST_SECONDS = 0.2  # of unused allowance, while the process goes on by itself
BREAKER_FAILURES = 10  # in a row, without one answer
CAUTIOUS_FAILURES = 3  # in a row, from which on fewer calls are in flight
VISIBLE_SECONDS = 1.0  # a wait that is shorter is not shown
SPARE_SECONDS = 0.3  # of unused allowance, from which on no process keeps to its share
GRANT_LIMIT = 1000  # permits at a time
CHARACTERS_PER_TOKEN = 4
ADMITTED_AFTER_SECONDS = (0.25, 2.0)  # without a refusal; at least, at most

logger = logging.getLogger(__name__)


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
    ) -> None:
        """`away`: what the ledger raises while it can't be reached."""
        self.credential = credential
        self.answered_at = -math.inf
        """When a call was answered last, as far as this process knows."""
        self._ledger = ledger
        self._worker = worker
        self._limits = limits
        self._away = away
        self._queues: list[CallQueue] = []
        self._permits: deque[Permit] = deque()
        self._report = Report()
        self._grant: Grant | None = None
        self._granted_at = 0.0
        self._averages = Averages()
        self._probe: PacedTurn | None = None
        self._held_for_epoch: int | None = None
        self._own_next = 0.0
        self._own_rate: float | None = None
        self._virtual_time = 0.0
        self._local = LocalPace(rate=1.0, next_at=0.0)
        self._dispatched = 0
        self._dispatch_rate = 0.0
        self._exchanging: asyncio.Task[None] | None = None
        self._exchanged_at = -math.inf
        self._ask_at = 0.0
        self._is_urgent = False
        self._has_left = False
        self._shown_at = 0.0
        self._used_at = time.monotonic()
        self._wake = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    # Calls.

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
        tokens = characters / CHARACTERS_PER_TOKEN + self._averages.output_tokens
        self._averages.note_request(tokens)
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
            return await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled() and not waiter.turn.exception():
                waiter.turn.result().end(None)
            raise
        finally:
            with contextlib.suppress(ValueError):
                queue.waiters.remove(waiter)

    def note_end(self, turn: PacedTurn, result: Completion | ProviderError | None) -> None:
        """Count how an attempt ended."""
        now = time.monotonic()
        turn.queue.in_flight -= 1
        report = self._report
        is_current = self._grant is None or turn.permit.epoch == self._grant.epoch
        ended = "dropped"
        if result is not None and result.limits is not None:
            report.limits = result.limits
        if isinstance(result, ProviderError) and result.outcome is CallOutcome.RATE_LIMITED:
            self._note_refusal(turn, result, now, is_current=is_current)
            ended = "refused"
        elif (
            isinstance(result, ProviderError) and result.outcome.retryable and not result.is_billed
        ):
            report.failed += 1
            report.reason = result.message
            ended = "failed"
            if self._failures >= CAUTIOUS_FAILURES:
                self._hurry()
        elif result is not None:
            self._note_answer(turn, result, now)
            # After an error that may concern every call, the next one is made alone as well.
            if not (
                isinstance(result, ProviderError) and (result.stops_the_job or result.is_ambiguous)
            ):
                ended = "answered"
                turn.queue.answered += 1
                turn.queue.moved_at = self.answered_at = now
                report.succeeded = True
        if turn is self._probe:
            self._probe = None
            report.probe = ended
            self._hurry()
        if ended in ("refused", "dropped"):
            report.token_change -= turn.tokens
        if self._waiting:
            self._wake.set()

    def _note_answer(self, turn: PacedTurn, result: Completion | ProviderError, now: float) -> None:
        usage = result.usage
        self._averages.note_answer(now - turn.began, usage.output_tokens)
        if usage.input_tokens is not None:
            used = usage.input_tokens + (usage.output_tokens or 0)
            self._report.token_change += used - turn.tokens
        if not turn.counts_as_admitted:
            self._report.answered += 1

    def _note_refusal(
        self, turn: PacedTurn, error: ProviderError, now: float, *, is_current: bool
    ) -> None:
        seconds = now - turn.began
        self._averages.refusal_latency += SMOOTHING * (seconds - self._averages.refusal_latency)
        if self._local.is_on:
            pause = 1.0 if error.retry_after is None else error.retry_after
            if now >= self._local.held_until:  # others were in flight when the first was refused
                self._local.rate *= LOCAL_DECREASE
            self._local.held_until = max(self._local.held_until, now + pause)
            return
        if not is_current:
            return
        report = self._report
        report.refused += 1
        report.reason = error.message
        if error.retry_after is not None:
            report.retry_after = max(report.retry_after or 0.0, error.retry_after)
        # Nothing more is sent in this epoch: the ledger says when the next one begins.
        self._held_for_epoch = turn.permit.epoch
        self._hurry()

    # The loop.

    def _start(self) -> None:
        self._wake.set()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name=f"pace {self.credential.label}")

    async def aclose(self) -> None:
        """Stop. Waiting calls are cancelled."""
        for task in (self._running, self._exchanging):
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
                if self._exchanging is None and self._has_left:
                    return
                self._leave()  # so that the others know at once
            self._admit_probe(now)
            self._dispatch(now)
            self._ask_if_due(now)
            self._fail_overdue(now)
            self._show(now)
            delay = self._delay(time.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()

    def _leave(self) -> None:
        if self._exchanging is None:
            self._has_left = True
            self._begin_exchange()

    def _is_idle(self, now: float) -> bool:
        return now - self._used_at > IDLE_SECONDS and not any(each.calls for each in self._queues)

    def _delay(self, now: float) -> float:
        """Seconds until there is something to do."""
        moments = [self._exchanged_at + EXCHANGE_SECONDS]
        if self._waiting:
            if self._permits and self._may_dispatch(now):
                moments.append(self._permits[0].at)
            elif not self._permits:
                moments.append(max(self._ask_at, self._exchanged_at + HURRY_SECONDS))
            if self._local.is_on:
                moments.append(max(self._local.next_at, self._local.held_until))
        if self._is_urgent:
            moments.append(self._exchanged_at + LOCKED_SECONDS)
        if self._exchanging is not None:
            moments = [each for each in moments if each > now] or [now + AWAY_SECONDS / 4]
        return min(max(min(moments) - now, 0.001), EXCHANGE_SECONDS)

    @property
    def _waiting(self) -> int:
        return sum(len(each.waiters) for each in self._queues)

    @property
    def _in_flight(self) -> int:
        return sum(each.in_flight for each in self._queues)

    @property
    def _failures(self) -> int:
        known = 0 if self._grant is None else self._grant.failures
        return self._report.failed + (0 if self._report.succeeded else known)

    def _hurry(self) -> None:
        self._is_urgent = True
        self._wake.set()

    # Dispatching.

    def _may_dispatch(self, now: float) -> bool:
        """Whether this process may send one more call now."""
        grant = self._grant
        if grant is not None and grant.epoch == self._held_for_epoch and not self._local.is_on:
            return False
        in_flight = self._in_flight
        if self._failures >= CAUTIOUS_FAILURES and in_flight >= max(
            1, BREAKER_FAILURES - self._failures
        ):
            return False
        if self._local.is_on and grant is not None and grant.is_probing and in_flight:
            return False
        return in_flight < self._concurrency(grant)

    def _concurrency(self, grant: Grant | None) -> float:
        """How many calls this process may have in flight."""
        limit = self._limits.concurrent
        if limit is None:
            return math.inf
        others: dict[str, float] = {self._worker: float(self._waiting + self._in_flight)}
        for each in grant.demands if grant else ():
            if each.worker != self._worker:
                others[each.worker] = others.get(each.worker, 0.0) + each.waiting + each.in_flight
        return max(1.0, math.floor(fair_shares(others, limit)[self._worker]))

    def _dispatch(self, now: float) -> None:
        """Give turns to waiting calls, for the permits whose moment has come."""
        while self._waiting and self._may_dispatch(now):
            permit = self._next_permit(now)
            if permit is None:
                return
            queue = min(
                (each for each in self._queues if each.waiters), key=lambda each: each.virtual_time
            )
            waiter = queue.waiters.popleft()
            if waiter.turn.done():  # cancelled
                self._permits.appendleft(permit)
                continue
            turn = PacedTurn(self, queue, permit, waiter.tokens)
            if permit.is_probe:
                self._probe = turn
            queue.in_flight += 1
            self._virtual_time = queue.virtual_time
            queue.virtual_time += 1 / max(queue.weight, 1e-6)
            self._dispatched += 1
            self._used_at = now
            self._report.token_change += waiter.tokens - permit.tokens
            waiter.turn.set_result(turn)

    def _next_permit(self, now: float) -> Permit | None:
        if self._permits:
            return self._permits.popleft() if self._permits[0].at <= now else None
        local = self._local
        if not local.is_on or max(local.next_at, local.held_until) > now:
            return None
        step = 1 / local.rate
        local.next_at = max(local.next_at, now - LOCAL_BURST_SECONDS) + step
        epoch = 0 if self._grant is None else self._grant.epoch
        return Permit(now, epoch, is_probe=False, step=step, tokens=0.0)

    def _admit_probe(self, now: float) -> None:
        """Take the call that is made alone for admitted, if it was not refused by now.

        A refusal comes quickly, be it for a rate limit or for a wrong key, and an answer may take
        minutes. Only an endpoint that failed has to answer.
        """
        probe, grant = self._probe, self._grant
        if probe is None or grant is None or grant.pause_kind == "failed":
            return
        least, most = ADMITTED_AFTER_SECONDS
        after = min(max(4 * self._averages.refusal_latency, least), most)
        if now - probe.began < (after if grant.pause_kind == "refused" else most):
            return
        self._probe = None
        self._report.probe = "answered"
        if grant.pause_kind == "refused":
            probe.counts_as_admitted = True
            self._report.answered += 1
        self._hurry()

    # Exchanges.

    def _ask_if_due(self, now: float) -> None:
        if self._exchanging is not None:
            if now - self._exchanged_at > AWAY_SECONDS:
                self._go_on_alone(now)
            return
        since = now - self._exchanged_at
        is_short = self._waiting > 0 and not self._permits and now >= self._ask_at
        is_due = since >= EXCHANGE_SECONDS or (is_short and since >= HURRY_SECONDS)
        if is_due or (self._is_urgent and since >= LOCKED_SECONDS):
            self._begin_exchange()

    def _begin_exchange(self) -> None:
        self._exchanged_at = time.monotonic()
        self._exchanging = asyncio.create_task(self._exchange_once(), name="pace exchange")

    async def _exchange_once(self) -> None:
        try:
            await self._exchange()
        except Exception:  # the calls go on, at the pace that is known
            logger.exception("The pace of %s can't be shared", self.credential.label)
            self._go_on_alone(time.monotonic())
        finally:
            self._exchanging = None
            self._wake.set()

    async def _exchange(self) -> None:
        """Report, and take permits."""
        began = time.monotonic()
        report, wish = self._take_report(), self._wish(began)
        self._is_urgent = False
        try:
            grant = await self._ledger.exchange(self._worker, report, wish)
        except self._away as error:
            self._put_back(report)
            if not self._local.is_on:
                logger.warning(
                    "The pace of %s waits for Postgres: %s", self.credential.label, error
                )
            self._go_on_alone(time.monotonic())
            return
        except BaseException:
            self._put_back(report)
            raise
        if grant is None:
            self._put_back(report)
            self._is_urgent = True
            return
        self._use(grant, wish)

    def _take_report(self) -> Report:
        """What is to be reported; permits that were not used in time are given back."""
        now = time.monotonic()
        report, self._report = self._report, Report()
        report.epoch = 0 if self._grant is None else self._grant.epoch
        is_unused = not any(each.calls for each in self._queues)
        while self._permits and (is_unused or self._permits[0].at < now - EXCHANGE_SECONDS):
            permit = self._permits.popleft()
            report.token_change -= permit.tokens
            if permit.is_probe:
                report.probe = "dropped"
            else:
                report.returned_seconds += permit.step
            if self._own_rate is not None:
                self._own_next -= 1 / self._own_rate
        if self._probe is not None or any(each.is_probe for each in self._permits):
            report.probe = "held"
        return report

    def _put_back(self, report: Report) -> None:
        """What could not be reported is reported with what came after it."""
        later = self._report
        later.answered += report.answered
        later.succeeded |= report.succeeded
        later.refused += report.refused
        later.failed += report.failed
        later.retry_after = later.retry_after or report.retry_after
        later.reason = later.reason or report.reason
        later.limits = later.limits or report.limits
        later.token_change += report.token_change
        later.returned_seconds += report.returned_seconds
        if later.probe is None and report.probe != "held":
            later.probe = report.probe

    def _wish(self, now: float) -> Wish:
        grant, limits = self._grant, self._limits
        elapsed = max(now - self._granted_at, 0.05)
        self._dispatch_rate += 0.5 * (self._dispatched / elapsed - self._dispatch_rate)
        self._dispatched = 0
        is_known = grant is not None and grant.is_limit_known
        ahead = AHEAD_SECONDS if is_known else AHEAD_STARTING_SECONDS
        waiting = self._waiting
        wanted = max(0, waiting + math.ceil(self._dispatch_rate * ahead) - len(self._permits))
        if not any(each.calls for each in self._queues):
            wanted = 0
        if self._own_rate is not None:
            self._own_next = max(self._own_next, now - EXCHANGE_SECONDS)
            left = (now + ahead - self._own_next) * self._own_rate
            wanted = min(wanted, max(0, math.floor(left) + 1) if left >= 0 else 0)
        if grant is not None and grant.is_probing:
            wanted = min(waiting, 1) if self._probe is None and not self._permits else 0
        latency = max(self._averages.latency, 0.05)
        jobs: dict[str, Demand] = {}
        for each in self._queues:
            if each.calls:
                known = jobs.get(each.job)
                jobs[each.job] = Demand(
                    worker=self._worker,
                    job=each.job,
                    owner=each.owner,
                    wanted=each.calls / latency + (known.wanted if known else 0.0),
                    waiting=len(each.waiters) + (known.waiting if known else 0),
                    in_flight=each.in_flight + (known.in_flight if known else 0),
                )
        return Wish(
            wanted=min(wanted, GRANT_LIMIT),
            tokens_each=self._averages.tokens,
            ahead_seconds=ahead,
            jobs=list(jobs.values()),
            set_rate=None if limits.rpm is None else limits.rpm / 60,
            set_tokens=None if limits.tpm is None else limits.tpm / 60,
            breaker=BREAKER_FAILURES,
        )

    def _use(self, grant: Grant, wish: Wish) -> None:
        """Take over what the ledger says."""
        now = time.monotonic()
        if self._local.is_on:
            logger.info("The pace of %s is shared again", self.credential.label)
            self._local.is_on = False
        if self._grant is not None and grant.epoch != self._grant.epoch:
            self._report.refused = 0  # of calls of an earlier epoch, which say nothing new
        self._grant, self._granted_at = grant, now
        if grant.succeeded_ago is not None:
            self.answered_at = max(self.answered_at, now - grant.succeeded_ago)
        if not self._report.refused:
            self._held_for_epoch = None
        if grant.is_probing or (self._permits and self._permits[-1].epoch != grant.epoch):
            kept = [each for each in self._permits if each.is_probe and each.epoch == grant.epoch]
            self._permits = deque(kept)
        for number in range(grant.granted):
            at = now + max(0.0, grant.first_in + number * grant.step)
            self._permits.append(
                Permit(at, grant.epoch, grant.is_probe, grant.step, wish.tokens_each)
            )
        if self._own_rate is not None:
            self._own_next += grant.granted / self._own_rate
        self._share_out(grant, now)
        # The next permits can be had once the last of these is near.
        soon = grant.first_in + grant.granted * grant.step - wish.ahead_seconds
        if grant.is_probing and not grant.granted:
            soon = grant.first_in
        if self._own_rate is not None:
            soon = max(soon, self._own_next - now - wish.ahead_seconds)
        self._ask_at = now + min(max(soon, 0.0), EXCHANGE_SECONDS)
        self._wake.set()

    def _share_out(self, grant: Grant, now: float) -> None:
        """What each job here gets, and this process in all."""
        shares = allocate(grant.demands, self._rate_of(grant))
        ours = 0.0
        for queue in self._queues:
            share = shares.get((self._worker, queue.job))
            if share is not None:
                queue.weight = max(share, 1e-6)
                ours += share
        has_others = any(each.worker != self._worker and each.waiting for each in grant.demands)
        # Where allowance is left over, nobody has to keep to a share of it.
        has_spare = grant.first_in <= -SPARE_SECONDS
        before, self._own_rate = self._own_rate, None
        if has_others and not has_spare and ours > 0:
            self._own_rate = ours
            if before is None:
                self._own_next = now + len(self._permits) / ours

    def _rate_of(self, grant: Grant) -> float:
        """Calls a second, of the size that they have here."""
        if grant.token_rate is None or self._averages.tokens <= 0:
            return grant.rate
        return min(grant.rate, grant.token_rate / self._averages.tokens)

    def _go_on_alone(self, now: float) -> None:
        """Go on at this process' part of the last known rate, until the ledger answers."""
        local, grant = self._local, self._grant
        if local.is_on or grant is None:
            return
        processes = len({each.worker for each in grant.demands} | {self._worker})
        self._local = LocalPace(
            rate=max(grant.rate / processes, 1e-3), next_at=now, held_until=now, is_on=True
        )
        if self._held_for_epoch == grant.epoch:
            self._local.held_until = now + 1.0

    # What is seen.

    def _fail_overdue(self, now: float) -> None:
        """End the wait of jobs that waited for longer than they may."""
        for queue in self._queues:
            limit = queue.max_wait_seconds
            if limit is None or not queue.waiters or now - queue.moved_at <= limit:
                continue
            grant = self._grant
            is_down = grant is not None and grant.pause_kind == "failed"
            reason = (grant.pause_reason if grant else None) or "its rate limit is used up"
            message = f"No call to {self.credential.label} was answered for {limit:g} s: {reason}"
            outcome = CallOutcome.TRANSIENT if is_down else CallOutcome.RATE_LIMITED
            while queue.waiters:
                waiter = queue.waiters.popleft()
                if not waiter.turn.done():
                    error = ProviderError(outcome, message)
                    error.stops_the_job = True
                    waiter.turn.set_exception(error)

    def _show(self, now: float) -> None:
        if now - self._shown_at < EXCHANGE_SECONDS:
            return
        self._shown_at = now
        for queue in self._queues:
            wait = self._wait_of(queue, now)
            if wait is not None or queue.shows_wait:
                queue.shows_wait = wait is not None
                queue.on_wait(wait)

    def _wait_of(self, queue: CallQueue, now: float) -> Wait | None:
        grant = self._grant
        if grant is None or not queue.waiters:
            return None
        if now - min(each.since for each in queue.waiters) < VISIBLE_SECONDS:
            return None
        next_in = (
            self._permits[0].at if self._permits else self._granted_at + grant.first_in
        ) - now
        shares = allocate(grant.demands, self._rate_of(grant))
        total = sum(share for (_, job), share in shares.items() if job == queue.job)
        rate = grant.rate
        if grant.stated is not None and rate > 0.9 * grant.stated:
            rate = grant.stated  # what is kept is a little below
        return Wait(
            label=self.credential.label,
            requests_per_minute=rate * 60,
            is_limit_known=grant.is_limit_known,
            tokens_per_minute=None if grant.token_rate is None else grant.token_rate * 60,
            next_in_seconds=max(0.0, next_in),
            job_rate=total,
            failing=grant.pause_reason if grant.pause_kind == "failed" else None,
        )
