"""Requests with a file: multipart/form-data, written to disk as it arrives.

Files are never held in memory. They have no name in any directory, so that they disappear when
their context ends, even if the process dies.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from pydantic import InstanceOf, WithJsonSchema
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Scope

from evalqueue.errors import Problem

FORM = "multipart/form-data"
FORM_BYTES = 4 * 1024**2  # of the fields beside the file and the multipart syntax
_FIELDS = 20
_FIELD_BYTES = 1024**2


class InvalidRequest(Exception):
    """A request has invalid fields; all of them are listed, each with its full path."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.msg for problem in problems[:100]))
        self.problems = tuple(problems)

    @classmethod
    def of_body(cls, msg: str, kind: str) -> "InvalidRequest":
        return cls([Problem(loc=("body",), msg=msg, type=kind)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An uploaded file."""

    file: BinaryIO
    """Positioned at its start, and open until the response is sent."""
    name: str
    """The client's name for it; "" if it has none."""


File = Annotated[InstanceOf[Upload], WithJsonSchema({"type": "string", "format": "binary"})]


def is_form(scope: Scope) -> bool:
    """Whether a request is sent as multipart/form-data."""
    media_type = Headers(scope=scope).get("content-type", "").partition(";")[0]
    return media_type.strip().lower() == FORM


def too_large(max_bytes: int) -> str:
    """The message to a client whose file is too large."""
    return (
        f"The file is larger than {max_bytes} bytes. Split it, "
        "or raise EVALQUEUE_MAX_DATASET_BYTES where the server runs."
    )


@asynccontextmanager
async def receive_form(request: Request, max_bytes: int) -> AsyncGenerator[dict[str, str | Upload]]:
    """The fields of a form, including its file.

    Raises:
        InvalidRequest: the form is malformed, or has a field twice.
        HTTPException: 413, if the file is too large.
    """
    # Other encodings can take minutes to decode, or decode to what JSON can't represent.
    _, options = parse_options_header(request.headers["content-type"])
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise InvalidRequest.of_body("The form must be in UTF-8", "multipart_invalid")
    form = request.form(max_files=1, max_fields=_FIELDS, max_part_size=_FIELD_BYTES)
    try:
        fields = await form
    except HTTPException as error:
        if error.status_code != 400:  # noqa: PLR2004  Starlette's status for a malformed form
            raise
        raise InvalidRequest.of_body(error.detail, "multipart_invalid") from error
    try:
        values: dict[str, str | Upload] = {}
        for name, value in fields.multi_items():
            if name in values:
                raise InvalidRequest([Problem(loc=("body", name), msg="The field is sent twice")])
            values[name] = _field(value, max_bytes)
        # A blank value counts as absent, because that is how forms send it.
        yield {name: value for name, value in values.items() if value != ""}
    finally:
        await fields.close()


def _field(value: UploadFile | str, max_bytes: int) -> Upload | str:
    if isinstance(value, str):
        return value
    if (value.size or 0) > max_bytes:
        raise HTTPException(413, too_large(max_bytes))
    return Upload(file=value.file, name=value.filename or "")
