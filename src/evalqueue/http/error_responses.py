"""Every error as a reply: `{"detail": …}`, text or, for 422, a list of what is wrong.

What the database or a bug says stays in the log: the caller is told what to do instead.
"""

import logging
from collections.abc import Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from evalqueue.errors import (
    DatabaseUnavailable,
    InvalidParams,
    JobNotFound,
    KeyReused,
    NotCancellable,
    NotRetryable,
    Problem,
    SchemaOutdated,
    UnknownJobType,
    describe,
)
from evalqueue.http.headers import SECURITY_HEADERS
from evalqueue.http.models.fleet import Unready
from evalqueue.http.uploads import InvalidRequest
from evalqueue.postgres.database import TRANSIENT

RETRY_AFTER_SECONDS = 5
_RETRY_AFTER = {"Retry-After": str(RETRY_AFTER_SECONDS)}


class NotReady(Exception):
    """The process can't do its work now; what was looked at says why."""

    def __init__(self, told: Unready) -> None:
        super().__init__(told.detail)
        self.told = told


REFUSED = (
    HTTPException, InvalidRequest, InvalidParams, UnknownJobType, JobNotFound, KeyReused,
    NotCancellable, NotRetryable, NotReady, SchemaOutdated, DatabaseUnavailable, *TRANSIENT,
    ClientDisconnect,
)  # fmt: skip
"""What is raised on purpose, here or below. Anything else is a bug."""

_NO_DATABASE = (
    "The database does not answer. Is Postgres running, and is DATABASE_URL right? "
    "What it said is in the server's log."
)

logger = logging.getLogger(__name__)


def detail(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error in words."""
    return JSONResponse({"detail": text}, status_code=status, headers=headers)


async def refusal(request: Request, error: Exception) -> Response:
    """The reply to what is in `REFUSED`."""
    match error:
        case HTTPException():
            reply = detail(error.status_code, error.detail, error.headers)
        case InvalidRequest():
            reply = _invalid(error.problems)
        case InvalidParams():
            reply = _invalid(error.problems, inside="body")
        case UnknownJobType():
            problem = Problem(loc=("body", "job_type"), msg=str(error), type="unknown_job_type")
            reply = _invalid([problem])
        case JobNotFound():
            reply = detail(404, "Job not found")
        case NotCancellable() | KeyReused() | NotRetryable():
            reply = detail(400 if isinstance(error, NotCancellable) else 409, str(error))
        case NotReady():
            reply = JSONResponse(
                error.told.model_dump(mode="json"), status_code=503, headers=_RETRY_AFTER
            )
        case ClientDisconnect():
            reply = detail(400, "The connection ended before the body did")
        case SchemaOutdated():
            reply = _later(request, error, str(error))
        case _:
            reply = _later(request, error, _NO_DATABASE)
    return reply


async def bug(_request: Request, _error: Exception) -> Response:
    """The reply to everything else. Starlette raises it again behind us: the server logs it."""
    # Made outside of the middleware that adds the headers to all else.
    return detail(500, "Internal error", SECURITY_HEADERS)


def _invalid(problems: Sequence[Problem], *, inside: str | None = None) -> JSONResponse:
    place = [] if inside is None else [inside]
    found = [problem.as_json() for problem in problems]
    return JSONResponse(
        {"detail": [each | {"loc": [*place, *each["loc"]]} for each in found]}, status_code=422
    )


def _later(request: Request, error: Exception, text: str) -> JSONResponse:
    logger.warning("%s %r: %s", request.method, request.scope["path"], describe(error))
    return detail(503, text, _RETRY_AFTER)
