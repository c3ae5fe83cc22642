"""The named statements of `sql/queries/*/*.sql`.

A name in capitals is that of a list of columns. It is inserted where other statements of the file,
or of a file that shares it, say its name. No statement says `*`: its rows would be others as soon
as a migration adds a column, which the process that runs it does not know.

They are typed `LiteralString`: psycopg's signatures then let the type checker refuse any statement
that was put together from data.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import LiteralString, cast

from evalqueue.postgres.rows import Statements

_NAME = re.compile(r"^-- (\w+) --$", re.MULTILINE)


def load(name: str, *, sharing: str | None = None) -> Statements:
    """The statements of one file (`queue/jobs`), by name.

    Args:
        sharing: another file, whose lists of columns this one uses.
    """
    found = _sections(name)
    lists = {key: body for key, body in found.items() if key.isupper()}
    if sharing is not None:
        lists |= {key: body for key, body in _sections(sharing).items() if key.isupper()}
    statements = {key: body for key, body in found.items() if not key.isupper()}
    for columns, listed in lists.items():
        statements = {key: body.replace(columns, listed) for key, body in statements.items()}
    # A file of this package is as literal as a string in its code.
    return Statements({key: cast("LiteralString", body) for key, body in statements.items()})


def _sections(name: str) -> Mapping[str, str]:
    text = (files("evalqueue.sql") / "queries" / f"{name}.sql").read_text("utf-8")
    _, *parts = _NAME.split(text)
    return {key: body.strip() for key, body in zip(parts[::2], parts[1::2], strict=True)}


FLEET = load("queue/fleet", sharing="queue/jobs")
JOBS = load("queue/jobs")
SCHEDULES = load("queue/schedules")
SCHEMA = load("queue/schema")
