"""Readers that are installed only where they are wanted."""

import importlib
from typing import Any

from evalqueue.evaluators.formats import FormatError


def extra(module: str, name: str, kind: str) -> Any:
    """A module of an optional dependency.

    Raises:
        FormatError: it is not installed. The message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = (
            f'{kind} is read by an extra that is not installed: pip install "evalqueue[{name}]"'
        )
        raise FormatError(reason) from error
