"""Classification: what a handler returned or raised becomes the end of its attempt.

This is the only module that handles every exception.
"""

import asyncio
import logging
import random
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from evalqueue import codec
from evalqueue.errors import (
    AttemptOver,
    InvalidParams,
    JobFailed,
    Postponed,
    TryAgain,
    YieldSlot,
    describe,
    leaves,
)
from evalqueue.jobs import Ended, Job
from evalqueue.postgres.database import TRANSIENT
from evalqueue.telemetry.logs import LoggedError

BACKOFF_BASE = 2.0  # seconds
BACKOFF_MAX = 120.0  # seconds
RETRY_AFTER_MAX = 30 * 86_400.0  # seconds a handler may postpone its job
RESULT_LIMIT = 1024 * 1024  # characters of JSON; what is larger belongs into a table

_PRECEDENCE = (AttemptOver, JobFailed, TryAgain, Postponed, YieldSlot)
"""Of several errors at once, the first of these decides: a lost fence, then the handler's own."""

logger = logging.getLogger(__name__)


class Stop(StrEnum):
    """Why a running attempt is stopped."""

    OVER = "over"
    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"

    @property
    def is_final(self) -> bool:
        """Whether the attempt is over already, in the database."""
        return self is not Stop.SHUTDOWN


def interrupted(stopped: Stop | None) -> Ended | None:
    """The end of an attempt whose handler did not finish. None: the attempt is over already."""
    return Ended.released() if stopped is Stop.SHUTDOWN else None


def classify(
    handling: asyncio.Task[Mapping[str, Any]], job: Job, stopped: Stop | None
) -> Ended | None:
    """The end of an attempt whose handler is done.

    Returns None where the attempt ended from outside (cancelled, lost): nothing is left to record.
    """
    if stopped is not None and stopped.is_final:
        return None
    if handling.cancelled():
        return interrupted(stopped) or Ended.failed("Its handler cancelled itself")
    error = handling.exception()
    if error is None:
        return _returned(handling.result())
    if stopped is Stop.SHUTDOWN:
        logger.info("Job %s was interrupted by the shutdown: %s", job.id, describe(error))
        return Ended.released()
    return _raised(_decisive(error), job)


def _returned(result: Mapping[str, Any]) -> Ended:
    problem = _problem(result)
    return Ended.completed(result) if problem is None else Ended.failed(problem)


def _raised(error: BaseException, job: Job) -> Ended | None:
    match error:
        case AttemptOver() | YieldSlot():
            return None if isinstance(error, AttemptOver) else Ended.yielded()
        case JobFailed():
            unfit = error.result is not None and _problem(error.result) is not None
            return Ended.failed(str(error) or describe(error), None if unfit else error.result)
        case TryAgain() | Postponed():
            ended = Ended.retry if isinstance(error, TryAgain) else Ended.postponed
            return ended(str(error), delay_seconds=_delay(job, error.after))
        case InvalidParams():
            return Ended.failed(f"Its params don't fit the job type {job.job_type!r}: {error}")
        case _ if isinstance(error, TRANSIENT):
            return Ended.retry(describe(error), delay_seconds=_delay(job, None))
        case _:
            # Its text is in the job's row.
            logger.error("Job %s failed", job.id, exc_info=LoggedError.of(error))
            return Ended.failed(describe(error))


def _decisive(error: BaseException) -> BaseException:
    """Of several errors at once the one that decides."""

    def rank(leaf: BaseException) -> int:
        ranks = (n for n, kind in enumerate(_PRECEDENCE) if isinstance(leaf, kind))
        return next(ranks, len(_PRECEDENCE))

    return min(leaves(error), key=rank)


def _problem(result: object) -> str | None:
    """Why a value can't be a job's result. None: it can."""
    if not isinstance(result, Mapping):
        return f"Its handler returned {type(result).__name__}, and a result is a JSON object"
    try:
        if codec.depth_exceeds(result, codec.MAX_DEPTH):  # pyright: ignore[reportUnknownArgumentType]  as below
            return f"Its handler returned JSON nested deeper than {codec.MAX_DEPTH} levels"
        size = len(codec.dump_json(dict(result)))  # pyright: ignore[reportUnknownArgumentType]  that is what is checked
    except (TypeError, ValueError, RecursionError) as error:
        return f"Its handler returned something that is not JSON: {error}"
    if size > RESULT_LIMIT:
        return f"Its handler returned {size} characters of JSON, over {RESULT_LIMIT}"
    return None


def _delay(job: Job, after: float | None) -> float:
    """Seconds until the next attempt: those the handler asked for, else exponential with full
    jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)."""
    if after is not None:
        return min(max(after, 0.0), RETRY_AFTER_MAX)
    return random.uniform(0, min(BACKOFF_MAX, BACKOFF_BASE * 2**job.failed_attempts))  # noqa: S311  jitter
