"""Error messages: the lines that a command prints when an error ends it."""

import psycopg
from pydantic import ValidationError

from evalqueue.errors import EvalqueueError, describe
from evalqueue.problems import explained

DEBUG = "EVALQUEUE_DEBUG"
"""The environment variable that adds tracebacks to error messages."""


def error_lines(error: BaseException) -> list[str]:
    """The message of an error that ends a command, line by line."""
    match error:
        case ValidationError():  # of the settings: job params have become InvalidParams
            return [f"{_variable(problem['loc'])}{problem['msg']}" for problem in explained(error)]
        case EvalqueueError() | OSError():
            return str(error).splitlines()
        case psycopg.errors.InsufficientPrivilege():
            return [
                f"The database role lacks a right: {str(error).splitlines()[0]}.",
                "evalqueue doctor names the rights that it lacks, and evalqueue roles prints the "
                "GRANTs of each role. One that only reads or submits can't do this: use the "
                "address of the API's role.",
            ]
        case psycopg.OperationalError():
            return [f"The database does not answer: {str(error).strip()}"]
        case _:
            return [f"Unexpected error: {describe(error)}", f"Set {DEBUG}=1 for a traceback."]


def _variable(loc: tuple[int | str, ...]) -> str:
    """What is wrong, before the reason. Empty: the reason is about several variables."""
    if not loc:
        return ""
    name = str(loc[0])
    return f"{name}: " if name.isupper() else f"EVALQUEUE_{name.upper()}: "
