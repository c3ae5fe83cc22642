"""The JSON of error responses."""

from typing import Any

from evalqueue.http.models.fields import Model


class Error(Model):
    """An error message."""

    detail: str


class FieldError(Model):
    """An invalid field of a request."""

    loc: list[str | int]
    """The path to the field: `["body", "params", "llm_model"]`."""
    msg: str
    type: str
    ctx: dict[str, Any] | None = None
    """Further values that belong to the message, if any."""


class ValidationErrors(Model):
    """All invalid fields of a request."""

    detail: list[FieldError]
