"""Regular expressions of strangers: RE2 takes linear time, whatever the expression.

Python's own engine may take years for a short expression and a short text, and holds the GIL.
"""

from functools import lru_cache
from typing import Any, cast

import re2  # pyright: ignore[reportMissingTypeStubs]

CHARACTERS_MAX = 50_000
"""Of a text that is searched: linear time is not little time for a large expression."""
_EXPRESSION_MAX = 2_000  # characters
_STEPS_MAX = 5_000  # of the compiled expression
_MEMORY_MAX = 1 << 20  # bytes


class InvalidExpression(ValueError):
    """It is no expression, or too large a one."""


@lru_cache(maxsize=1_000)
def compiled(expression: str, *, ignore_case: bool = False) -> Any:
    """The compiled expression.

    Raises:
        InvalidExpression: why it can't be used.
    """
    if len(expression) > _EXPRESSION_MAX:
        raise InvalidExpression(f"longer than {_EXPRESSION_MAX:,} characters")
    options: Any = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_MAX
    options.case_sensitive = not ignore_case
    try:
        found: Any = re2.compile(expression, options)
    except re2.error as error:  # pyright: ignore[reportUnknownVariableType]
        (given,) = cast("ValueError", error).args
        reason = given.decode() if isinstance(given, bytes) else str(given)
        raise InvalidExpression(
            f"{reason}. It is an RE2 expression: without look-around and back-references"
        ) from error
    if found.programsize > _STEPS_MAX:
        raise InvalidExpression("it is too large: bounded repetitions such as {0,900} multiply it")
    return found


def mistake(expression: str) -> str | None:
    """What is wrong with an expression. None: nothing."""
    if not expression:
        return "it is empty"
    try:
        compiled(expression)
    except InvalidExpression as error:
        return str(error)
    return None


def searched(expression: str, text: str, *, ignore_case: bool = False) -> str | None:
    """The first match in the beginning of a text. None: there is none."""
    match = compiled(expression, ignore_case=ignore_case).search(text[:CHARACTERS_MAX])
    return None if match is None else str(match.group(0))
