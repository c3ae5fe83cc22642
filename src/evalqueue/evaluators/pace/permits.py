"""The permits that one process has: those of the ledger, or its own while the ledger is away."""

import math
from collections import deque

from evalqueue.evaluators.pace.calls import LocalPace, Permit
from evalqueue.evaluators.pace.ledger import Grant, Report

EXCHANGE_SECONDS = 0.5  # between reports, while there is something to report
SPARE_SECONDS = 0.3  # of unused allowance, from which on no process keeps to its share
LOCAL_DECREASE = 0.85  # of the rate, for each refusal, while the process goes on by itself
LOCAL_BURST_SECONDS = 0.2  # of unused allowance, while the process goes on by itself
LOCAL_PAUSE_SECONDS = 1.0  # after a refusal without a stated delay, while it goes on by itself


class PermitStock:
    """Permits in the order of their moments, and the share that this process keeps to."""

    def __init__(self) -> None:
        self.local = LocalPace(rate=1.0, next_at=0.0)
        self._permits: deque[Permit] = deque()
        self._own_next = 0.0
        self._own_rate: float | None = None

    def __len__(self) -> int:
        return len(self._permits)

    @property
    def first_at(self) -> float | None:
        """The moment of the first permit."""
        return self._permits[0].at if self._permits else None

    @property
    def has_probe(self) -> bool:
        return any(each.is_probe for each in self._permits)

    def take(self, now: float, epoch: int) -> Permit | None:
        """The next permit whose moment has come."""
        if self._permits:
            return self._permits.popleft() if self._permits[0].at <= now else None
        local = self.local
        if not local.is_on or max(local.next_at, local.held_until) > now:
            return None
        step = 1 / local.rate
        local.next_at = max(local.next_at, now - LOCAL_BURST_SECONDS) + step
        return Permit(now, epoch, is_probe=False, step=step, tokens=0.0)

    def put_back(self, permit: Permit) -> None:
        self._permits.appendleft(permit)

    def return_unused(self, report: Report, now: float, *, are_all_unused: bool) -> None:
        """Give permits back that were not used in time."""
        while self._permits and (are_all_unused or self._permits[0].at < now - EXCHANGE_SECONDS):
            permit = self._permits.popleft()
            report.token_change -= permit.tokens
            if permit.is_probe:
                report.probe = "dropped"
            else:
                report.returned_seconds += permit.step
            if self._own_rate is not None:
                self._own_next -= 1 / self._own_rate

    def within_share(self, wanted: int, now: float, ahead_seconds: float) -> int:
        """How many of the permits that are wanted this process may take."""
        if self._own_rate is None:
            return wanted
        self._own_next = max(self._own_next, now - EXCHANGE_SECONDS)
        left = (now + ahead_seconds - self._own_next) * self._own_rate
        return min(wanted, max(0, math.floor(left) + 1) if left >= 0 else 0)

    def add(self, grant: Grant, tokens_each: float, now: float) -> None:
        """Take the permits of a grant; those of an earlier epoch are worth nothing."""
        if grant.is_probing or (self._permits and self._permits[-1].epoch != grant.epoch):
            kept = [each for each in self._permits if each.is_probe and each.epoch == grant.epoch]
            self._permits = deque(kept)
        for number in range(grant.granted):
            at = now + max(0.0, grant.first_in + number * grant.step)
            step = 1 / grant.rate  # of requests; its tokens are counted by themselves
            self._permits.append(Permit(at, grant.epoch, grant.is_probe, step, tokens_each))
        if self._own_rate is not None:
            self._own_next += grant.granted / self._own_rate

    def set_share(self, grant: Grant, share: float, now: float, *, has_others: bool) -> None:
        """Keep to a share of the rate (calls a second), if others wait and no allowance is left."""
        has_spare = grant.first_in <= -SPARE_SECONDS
        before, self._own_rate = self._own_rate, None
        if has_others and not has_spare and share > 0:
            self._own_rate = share
            if before is None:
                self._own_next = now + len(self._permits) / share

    def next_request_in(self, grant: Grant, ahead_seconds: float, now: float) -> float:
        """Seconds until more permits can be had: once the last of these is near."""
        soon = grant.first_in + grant.granted * grant.step - ahead_seconds
        if grant.is_probing and not grant.granted:
            soon = grant.first_in
        if self._own_rate is not None:
            soon = max(soon, self._own_next - now - ahead_seconds)
        return min(max(soon, 0.0), EXCHANGE_SECONDS)

    def go_on_alone(self, grant: Grant, worker: str, now: float, *, is_held: bool) -> None:
        """Make permits at this process' part of the last known rate."""
        processes = len({each.worker for each in grant.demands} | {worker})
        self.local = LocalPace(
            rate=max(grant.rate / processes, 1e-3), next_at=now, held_until=now, is_on=True
        )
        if is_held:
            self.local.held_until = now + LOCAL_PAUSE_SECONDS

    def note_local_refusal(self, retry_after: float | None, now: float) -> None:
        """Slow down after a refusal while the process goes on by itself."""
        local = self.local
        if now >= local.held_until:  # others were in flight when the first was refused
            local.rate *= LOCAL_DECREASE
        pause = LOCAL_PAUSE_SECONDS if retry_after is None else retry_after
        local.held_until = max(local.held_until, now + pause)
