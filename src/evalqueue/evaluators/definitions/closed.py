"""Parts of a document that have the keys which are known, and no others."""

from typing import ClassVar

from pydantic import ConfigDict


class ClosedPart:
    """Makes pydantic refuse unknown keys in a part of a document."""

    __slots__ = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)
