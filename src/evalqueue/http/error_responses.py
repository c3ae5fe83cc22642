"""Error responses: `{"detail": …}`, a message or, for 422, a list of invalid fields.

The text of database errors and bugs stays in the log; the response says what to do.
"""

import logging
from collections.abc import Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

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
MAX_PROBLEMS = 100  # listed in one response
_RETRY_AFTER = {"Retry-After": str(RETRY_AFTER_SECONDS)}


class NotReady(Exception):
    """The process can't work now; the response says which checks failed."""

    def __init__(self, response: Unready) -> None:
        super().__init__(response.detail)
        self.response = response


EXPECTED_ERRORS = (
    HTTPException, InvalidRequest, InvalidParams, UnknownJobType, JobNotFound, KeyReused,
    NotCancellable, NotRetryable, NotReady, SchemaOutdated, DatabaseUnavailable, *TRANSIENT,
    ClientDisconnect,
)  # fmt: skip
"""Exceptions that `error_response` knows. Any other is a bug."""

_NO_DATABASE = (
    "The database does not answer. Is Postgres running, and is DATABASE_URL right? "
    "The server's log has the database's error."
)

logger = logging.getLogger(__name__)


def detail_response(
    status: int, text: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error response with a message."""
    return JSONResponse({"detail": text}, status_code=status, headers=headers)


async def error_response(request: Request, error: Exception) -> Response:
    """The response to one of `EXPECTED_ERRORS`."""
    match error:
        case HTTPException():
            response = detail_response(error.status_code, error.detail, error.headers)
        case InvalidRequest() | InvalidParams():
            # Those of params are relative to the body.
            prefix = ("body",) if isinstance(error, InvalidParams) else ()
            response = _invalid(error.problems, prefix)
        case UnknownJobType():
            problem = Problem(loc=("body", "job_type"), msg=str(error), type="unknown_job_type")
            response = _invalid([problem])
        case JobNotFound():
            response = detail_response(404, "Job not found")
        case NotCancellable():
            response = detail_response(400, str(error))
        case KeyReused() | NotRetryable():
            response = detail_response(409, str(error))
        case NotReady():
            response = JSONResponse(
                error.response.model_dump(mode="json"), status_code=503, headers=_RETRY_AFTER
            )
        case ClientDisconnect():
            response = detail_response(400, "The connection ended before the body did")
        case SchemaOutdated():
            response = _unavailable(request, error, str(error))
        case _:
            response = _unavailable(request, error, _NO_DATABASE)
    return response


async def internal_error(_request: Request, _error: Exception) -> Response:
    """The response to any other exception. Starlette raises it again: the server logs it."""
    # Sent outside the middleware that adds the headers to all other responses.
    return detail_response(500, "Internal error", SECURITY_HEADERS)


def _invalid(problems: Sequence[Problem], prefix: tuple[str, ...] = ()) -> JSONResponse:
    # The bad rows of a file are bounded where they are found, and end with their own remark.
    is_file = bool(problems) and problems[0].type == "bad_row"
    shown = [*problems] if is_file else [*problems[:MAX_PROBLEMS]]
    if more := len(problems) - len(shown):
        shown.append(Problem(loc=problems[0].loc[:1], msg=f"… and {more} more"))
    fields = [problem.within(*prefix).as_json() for problem in shown]
    return JSONResponse({"detail": fields}, status_code=422)


def _unavailable(request: Request, error: Exception, text: str) -> JSONResponse:
    # The route and not the path: of a link to a report, that is a secret.
    route = request.scope.get("route")
    path = route.path if isinstance(route, Route) else ""
    logger.warning("%s %s: %s", request.method, path, describe(error))
    return detail_response(503, text, _RETRY_AFTER)
