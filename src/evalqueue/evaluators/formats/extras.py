"""Readers that are installed only where they are wanted."""

from typing import Any

from evalqueue.evaluators.formats import FormatError
from evalqueue.evaluators.loading import load


def extra(module: str, name: str, kind: str) -> Any:
    """A module of an optional dependency.

    Raises:
        FormatError: it is not installed. The message names the extra.
    """
    try:
        return load(module)
    except ImportError as error:
        reason = (
            f'{kind} is read by an extra that is not installed: pip install "evalqueue[{name}]"'
        )
        raise FormatError(reason) from error
