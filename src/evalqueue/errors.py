"""Everything this package raises, on one screen.

EvalqueueError
├── Refused                 the request can't be accepted; nothing was stored
│   ├── UnknownJobType
│   ├── InvalidParams       one or more fields, each named
│   ├── KeyReused           the idempotency key belongs to another request
│   ├── JobNotFound
│   └── NothingMeant        no job, run, case or dataset has this id or name
├── NotCancellable          the job is over already
├── NotRetryable            the job is not over, or nothing is missing
├── DatabaseUnavailable     no Postgres answered in time
├── NotificationsLost       NOTIFY does not reach this process
├── CannotListen            the address is taken, or open to others without tokens
├── SchemaOutdated          `evalqueue migrate` has to run first
├── RightMissing            the database role lacks a right, with the GRANT that gives it
├── SchemaLocked            `evalqueue migrate` did not get its locks in time
├── AttemptOver             the fence: this attempt may not write any more
├── YieldSlot               raised by `context.map`: other jobs wait for the slot
├── Postponed               raised by a handler: it waits for something outside, without a slot
├── JobFailed               raised by a handler: failed for good, with a reason
└── TryAgain                raised by a handler: not now, later
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID

ONE_LINE_LIMIT = 300  # characters


class EvalqueueError(Exception):
    """The root of the tree."""


class Refused(EvalqueueError):
    """The request can't be accepted. Nothing was stored."""


class UnknownJobType(Refused):
    """No such job type is registered."""

    def __init__(self, job_type: str, known: Sequence[str]) -> None:
        names = ", ".join(sorted(known)) or "none (Client(job_types=[…]) makes them known)"
        super().__init__(f"Unknown job_type: {job_type}. Known: {names}")
        self.job_type = job_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a request."""

    loc: tuple[str | int, ...]
    """The path to it: `("params", "llm_model")`."""
    msg: str
    type: str = "value_error"
    ctx: Mapping[str, Any] | None = None

    def within(self, *loc: str | int) -> "Problem":
        """The same problem as seen from outside: this path comes before its own."""
        return replace(self, loc=(*loc, *self.loc))

    def as_json(self) -> dict[str, object]:
        found: dict[str, object] = {"loc": list(self.loc), "msg": self.msg, "type": self.type}
        return found if self.ctx is None else found | {"ctx": dict(self.ctx)}


class InvalidParams(Refused):
    """Some params are wrong; all of them are named at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        lines = [f"{'.'.join(map(str, problem.loc))}: {problem.msg}" for problem in problems[:100]]
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)

    @classmethod
    def of(cls, field: str, msg: str) -> "InvalidParams":
        """One field of the params is wrong."""
        return cls([Problem(loc=("params", field), msg=msg)])

    @classmethod
    def of_all(cls, msg: str) -> "InvalidParams":
        """The params as a whole are wrong."""
        return cls([Problem(loc=("params",), msg=msg)])


class KeyReused(Refused):
    """The idempotency key was used for another request before."""


class JobNotFound(Refused):
    """There is no job with this id."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"Job not found: {job_id}")
        self.job_id = job_id


class NothingMeant(Refused):
    """No job, run, case or dataset has this id or name."""


class NotCancellable(EvalqueueError):
    """The job is over already."""

    def __init__(self, job_id: UUID, status: str) -> None:
        super().__init__(f"Cannot cancel job in '{status}' state")
        self.job_id = job_id
        self.status = status


class NotRetryable(EvalqueueError):
    """The job is not over yet, was continued already, or has nothing missing or failed."""


class DatabaseUnavailable(EvalqueueError):
    """No Postgres answered in time."""


class NotificationsLost(EvalqueueError):
    """Notifications do not reach the LISTEN connection of this process."""


class CannotListen(EvalqueueError):
    """The address is taken, is not ours, or must not be listened on without tokens."""


class SchemaOutdated(EvalqueueError):
    """The database's schema is not the one this code needs."""


class RightMissing(EvalqueueError):
    """The database role lacks a right."""


class SchemaLocked(EvalqueueError):
    """Other sessions held the locks that a migration needs. Nothing was changed."""


class AttemptOver(EvalqueueError):
    """Another attempt, a cancel or a finish has happened: this attempt may not write any more."""


class YieldSlot(EvalqueueError):
    """This attempt ends at a good moment, for jobs that wait for its slot. Not counted."""


class Postponed(EvalqueueError):
    """Raised by a handler: the job waits for something outside of it, and needs no slot for that.

    It is due again after a while, by the database's clock. Not counted as an attempt.
    """

    def __init__(self, reason: str, *, after: float) -> None:
        """`after` is in seconds."""
        super().__init__(reason)
        self.after = after


class JobFailed(EvalqueueError):
    """Raised by a handler: the job failed for good. It may have a partial result."""

    def __init__(self, reason: str, *, result: Mapping[str, object] | None = None) -> None:
        super().__init__(reason)
        self.result = result


class TryAgain(EvalqueueError):
    """Raised by a handler: try again later. Counts as an attempt.

    Args:
        reason: what was in the way.
        after: seconds to wait; without it, exponential backoff with full jitter.
    """

    def __init__(self, reason: str, *, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


def describe(error: BaseException) -> str:
    """An error in words, never empty: some exceptions have no message of their own."""
    text = str(error).strip()
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def one_line(error: BaseException) -> str:
    """The first line of an error in words, bounded, for a row or a table."""
    return describe(error).splitlines()[0][:ONE_LINE_LIMIT]


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors inside an exception group, in order and however deep; any other error is itself
    the only one."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)  # isinstance can't say of what
        for inner in group.exceptions:
            yield from leaves(inner)
    else:
        yield error
