"""What one process wants of a credential: permits, and the demand of each of its jobs."""

from collections.abc import Sequence

from evalqueue.evaluators.pace.calls import Averages, CallQueue
from evalqueue.evaluators.pace.ledger import PermitRequest
from evalqueue.evaluators.pace.limits import ModelLimits
from evalqueue.evaluators.pace.shares import Demand

BREAKER_FAILURES = 10  # in a row, without one answer
GRANT_LIMIT = 1000  # permits at a time
LEAST_LATENCY_SECONDS = 0.05


def demands(queues: Sequence[CallQueue], worker: str, averages: Averages) -> list[Demand]:
    """The demand of each job. Several attempts at a job are one."""
    latency = max(averages.latency, LEAST_LATENCY_SECONDS)
    jobs: dict[str, Demand] = {}
    for each in queues:
        if each.calls:
            known = jobs.get(each.job)
            jobs[each.job] = Demand(
                worker=worker,
                job=each.job,
                owner=each.owner,
                wanted=each.calls / latency + (known.wanted if known else 0.0),
                waiting=len(each.waiters) + (known.waiting if known else 0),
                in_flight=each.in_flight + (known.in_flight if known else 0),
            )
    return list(jobs.values())


def permit_request(
    wanted: int,
    *,
    ahead_seconds: float,
    jobs: Sequence[Demand],
    averages: Averages,
    limits: ModelLimits,
    slots: int,
) -> PermitRequest:
    """A request for permits, with the limits of the settings."""
    return PermitRequest(
        wanted=min(wanted, GRANT_LIMIT),
        tokens_each=averages.tokens,
        ahead_seconds=ahead_seconds,
        jobs=jobs,
        set_rate=None if limits.rpm is None else limits.rpm / 60,
        set_tokens=None if limits.tpm is None else limits.tpm / 60,
        breaker=BREAKER_FAILURES,
        concurrent=limits.concurrent,
        slots=slots,
    )
