"""Exit codes of the command line, and which error ends a command with which of them."""

from collections.abc import Mapping
from enum import IntEnum

import psycopg
from pydantic import ValidationError

from evalqueue.errors import (
    CannotListen,
    DatabaseUnavailable,
    JobNotFound,
    NotCancellable,
    NothingMeant,
    NotRetryable,
    Refused,
    SchemaLocked,
    SchemaOutdated,
)
from evalqueue.jobs import JobStatus


class ExitCode(IntEnum):
    """The exit code of a command; `EXIT_CODES` has their meanings."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CANCELLED = 3
    NOT_FOUND = 4
    NO_DATABASE = 5
    OUTDATED = 6
    NOT_DECIDABLE = 7
    LOCKED = 8
    STUCK = 70
    INTERRUPTED = 130


EXIT_CODES: Mapping[ExitCode, str] = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "the job or the gate failed, doctor found a problem, or an unexpected error",
    ExitCode.USAGE: "wrong usage, or the request was refused: each problem on its own line",
    ExitCode.CANCELLED: "the job was cancelled",
    ExitCode.NOT_FOUND: "not found, or in a state that can't be cancelled, retried or removed",
    ExitCode.NO_DATABASE: "the database does not answer",
    ExitCode.OUTDATED: "the schema is outdated: run evalqueue migrate",
    ExitCode.NOT_DECIDABLE: "the gate or compare can't decide: too few conversations or verdicts",
    ExitCode.LOCKED: "migrate did not get its locks in time, and changed nothing",
    ExitCode.STUCK: "a worker ended with handlers that could not be stopped",
    ExitCode.INTERRUPTED: "interrupted",
}
"""Each exit code and its meaning; `evalqueue --help` prints this table."""

EXIT_CODE_OF_STATUS: Mapping[JobStatus, ExitCode] = {
    JobStatus.COMPLETED: ExitCode.DONE,
    JobStatus.FAILED: ExitCode.FAILED,
    JobStatus.CANCELLED: ExitCode.CANCELLED,
}
"""The exit code of a command that followed a job until it ended."""


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code of a command that ends with this error."""
    match error:
        case JobNotFound() | NothingMeant() | NotCancellable() | NotRetryable():
            return ExitCode.NOT_FOUND
        case Refused() | ValidationError() | CannotListen():
            return ExitCode.USAGE
        case DatabaseUnavailable() | psycopg.OperationalError():
            return ExitCode.NO_DATABASE
        case SchemaOutdated():
            return ExitCode.OUTDATED
        case SchemaLocked():
            return ExitCode.LOCKED
        case _:
            return ExitCode.FAILED
