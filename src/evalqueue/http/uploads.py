"""Requests with a file in them: multipart/form-data, on its way to disk as it comes in.

Nothing of a file is kept in memory. The file is nobody's once its context ends, however that is:
it has no name in any directory.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO

from pydantic import InstanceOf, WithJsonSchema
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Scope

from evalqueue.errors import Problem

FORM = "multipart/form-data"
FORM_BYTES = 4 * 1024**2  # of what comes beside the file, and of what parts it
_FIELDS = 20
_FIELD_BYTES = 1024**2


class InvalidRequest(Exception):
    """Something in the request is wrong; all of it is named at once, with its full path."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.msg for problem in problems))
        self.problems = tuple(problems)

    @classmethod
    def of_body(cls, msg: str, kind: str) -> "InvalidRequest":
        return cls([Problem(loc=("body",), msg=msg, type=kind)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that came with a request."""

    file: BinaryIO
    """At its beginning, for as long as the request is answered."""
    name: str
    """As the client has it; "" where it doesn't say."""


File = Annotated[InstanceOf[Upload], WithJsonSchema({"type": "string", "format": "binary"})]


def is_form(scope: Scope) -> bool:
    """Whether a request comes as multipart/form-data."""
    media_type = Headers(scope=scope).get("content-type", "").partition(";")[0]
    return media_type.strip().lower() == FORM


def too_large(max_bytes: int) -> str:
    """Why a file is refused."""
    return (
        f"The file is larger than {max_bytes} bytes. Split it, "
        "or raise EVALQUEUE_MAX_DATASET_BYTES where the server runs."
    )


@asynccontextmanager
async def received(request: Request, max_bytes: int) -> AsyncGenerator[dict[str, Any]]:
    """The fields of a form, its file among them.

    Raises:
        InvalidRequest: it is no form, or has a field twice.
        HTTPException: the file is too large.
    """
    # In any other, a field may take minutes to decode, or come out as what JSON can't say.
    _, options = parse_options_header(request.headers["content-type"])
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise InvalidRequest.of_body("The form must be in UTF-8", "multipart_invalid")
    form = request.form(max_files=1, max_fields=_FIELDS, max_part_size=_FIELD_BYTES)
    try:
        fields = await form
    except HTTPException as error:
        if error.status_code != 400:  # noqa: PLR2004  what Starlette says of a bad form
            raise
        raise InvalidRequest.of_body(error.detail, "multipart_invalid") from error
    try:
        given: dict[str, Any] = {}
        for name, value in fields.multi_items():
            if name in given:
                raise InvalidRequest([Problem(loc=("body", name), msg="It comes twice")])
            given[name] = _taken(value, max_bytes)
        # A blank value is as good as none: that is how forms send it.
        yield {name: value for name, value in given.items() if value != ""}
    finally:
        await fields.close()


def _taken(value: UploadFile | str, max_bytes: int) -> Upload | str:
    if isinstance(value, str):
        return value
    if (value.size or 0) > max_bytes:
        raise HTTPException(413, too_large(max_bytes))
    return Upload(file=value.file, name=value.filename or "")
