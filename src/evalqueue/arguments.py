"""What a client is given besides params: checked before it comes to a statement."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from evalqueue.errors import InvalidParams, Problem
from evalqueue.jobs import JobStatus
from evalqueue.jobtypes import JobParams
from evalqueue.postgres.store import Submission
from evalqueue.problems import OneLine, StrictNumbers, explained

_ID = TypeAdapter(UUID)
_INTEGER = 2**31 - 1  # what the table's columns hold
_BIGINT = 2**63 - 1

AnyModel = TypeVar("AnyModel", bound=BaseModel)
Owner = Annotated[str, Field(min_length=1, max_length=200), OneLine]
Integer = Annotated[int, Field(ge=-_INTEGER, le=_INTEGER)]


class _Options(StrictNumbers):
    """The arguments of a submission, but for its params."""

    owner: Owner
    priority: Integer
    scheduled_at: datetime | None
    queue: Annotated[str, Field(min_length=1, max_length=40), OneLine]
    max_attempts: Annotated[int, Field(ge=1, le=_INTEGER)]
    idempotency_key: Annotated[str, Field(min_length=1, max_length=255)] | None
    after: UUID | None


class _Listing(StrictNumbers):
    """The arguments of a list of jobs."""

    status: JobStatus | None
    job_type: str | None
    owner: str | None
    limit: Annotated[int, Field(ge=0, le=_BIGINT)]
    offset: Annotated[int, Field(ge=0, le=_BIGINT)]


def checked_id(value: object) -> UUID:
    """The id of a job: a UUID, or its text.

    Raises:
        InvalidParams: it is neither.
    """
    if isinstance(value, UUID):
        return value
    try:
        return _ID.validate_python(value)
    except ValidationError as error:
        raise InvalidParams(_problems(error, "job_id")) from error


def checked(submissions: Sequence[Submission]) -> Sequence[Submission]:
    """Submissions, with values of the types that they have to be of.

    Raises:
        InvalidParams: all that is wrong with the first one that has something wrong.
    """
    return [_checked(each) for each in submissions]


def check_params(params: object) -> None:
    """Refuse params of no job type.

    Raises:
        InvalidParams: with what to give instead.
    """
    if not isinstance(params, JobParams):
        raise InvalidParams.of_all(
            f"This is {type(params).__name__}: give params of a job type, such as "
            "EvaluateBatch(…), or call submit_params"
        )


def check_listing(**arguments: Any) -> None:
    """Refuse arguments of a list of jobs.

    Raises:
        InvalidParams: with every one that is wrong.
    """
    _validated(_Listing, arguments)


def _checked(submission: Submission) -> Submission:
    names = _Options.model_fields
    options = _validated(_Options, {name: getattr(submission, name) for name in names})
    return replace(submission, scheduled_at=options.scheduled_at, after=options.after)


def _validated(model: type[AnyModel], values: dict[str, Any]) -> AnyModel:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InvalidParams(_problems(error)) from error


def _problems(error: ValidationError, *where: str) -> list[Problem]:
    return [
        Problem(loc=(*where, *each["loc"]), msg=each["msg"], type=each["type"])
        for each in explained(error)
    ]
