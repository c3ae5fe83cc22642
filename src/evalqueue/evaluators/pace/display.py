"""What the jobs of one process see of their wait: how long it takes, and when it was too long."""

import time
from collections.abc import Iterable

from evalqueue.evaluators.pace.calls import CallQueue
from evalqueue.evaluators.pace.ledger import Grant
from evalqueue.evaluators.pace.shares import allocate
from evalqueue.evaluators.pace.waiting import Wait
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError

VISIBLE_SECONDS = 1.0  # a wait that is shorter is not shown


def fail_overdue(
    queues: Iterable[CallQueue], grant: Grant | None, *, label: str, now: float
) -> None:
    """End the wait of jobs that waited for longer than they may."""
    for queue in queues:
        limit = queue.max_wait_seconds
        if limit is None or not queue.waiters or now - queue.moved_at <= limit:
            continue
        is_down = grant is not None and grant.pause_kind == "failed"
        reason = (grant.pause_reason if grant else None) or "its rate limit is used up"
        message = f"No call to {label} was answered for {limit:g} s: {reason}"
        outcome = CallOutcome.TRANSIENT if is_down else CallOutcome.RATE_LIMITED
        while queue.waiters:
            waiter = queue.waiters.popleft()
            if not waiter.turn.done():
                error = ProviderError(outcome, message)
                error.stops_the_job = True
                waiter.turn.set_exception(error)


def show(
    queues: Iterable[CallQueue],
    grant: Grant | None,
    *,
    label: str,
    call_rate: float,
    next_at: float,
) -> None:
    """Call `on_wait` of each job that waits, or no longer does.

    Args:
        call_rate: calls a second of the credential, in all.
        next_at: when the next call may be made (of `time.monotonic`).
    """
    now = time.monotonic()
    for queue in queues:
        wait = None
        if grant is not None and queue.waiters:
            since = min(each.since for each in queue.waiters)
            if now - since >= VISIBLE_SECONDS:
                wait = _wait_of(queue, grant, label, call_rate, max(0.0, next_at - now))
        if wait is not None or queue.shows_wait:
            queue.shows_wait = wait is not None
            queue.on_wait(wait)


def _wait_of(
    queue: CallQueue, grant: Grant, label: str, call_rate: float, next_in_seconds: float
) -> Wait:
    shares = allocate(grant.demands, call_rate)
    rate = grant.rate
    if grant.stated is not None and rate > 0.9 * grant.stated:
        rate = grant.stated  # what is used is a little below
    return Wait(
        label=label,
        requests_per_minute=rate * 60,
        is_limit_known=grant.is_limit_known,
        tokens_per_minute=None if grant.token_rate is None else grant.token_rate * 60,
        next_in_seconds=next_in_seconds,
        job_rate=sum(share for (_, job), share in shares.items() if job == queue.job),
        failing=grant.pause_reason if grant.pause_kind == "failed" else None,
    )
