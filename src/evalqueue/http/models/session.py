"""The JSON of sign-ins."""

from typing import Literal

from pydantic import Field

from evalqueue.http.models.fields import Model
from evalqueue.tokens import Right

_MAX_TOKEN = 1000  # characters


class SignIn(Model):
    """A token, in exchange for a cookie."""

    token: str = Field(min_length=1, max_length=_MAX_TOKEN)


class Session(Model):
    """The caller."""

    name: str
    """The owner of the jobs that the caller submits."""
    right: Right
    needs_token: bool
    """Whether the API needs a token at all."""


class SignedOut(Model):
    """The session is over, and the browser deletes its cookie."""

    signed_out: Literal[True] = True
