"""The named statements of `sql/queries/*/*.sql`.

They are typed `LiteralString`: psycopg's signatures then let the type checker refuse any statement
that was put together from data.
"""

import re
from importlib.resources import files
from typing import LiteralString, cast

from evalqueue.postgres.rows import Statements

_NAME = re.compile(r"^-- (\w+) --$", re.MULTILINE)


def load(name: str) -> Statements:
    """The statements of one file (`queue/jobs`), by name."""
    text = (files("evalqueue.sql") / "queries" / f"{name}.sql").read_text("utf-8")
    _, *parts = _NAME.split(text)
    # A file of this package is as literal as a string in its code.
    return Statements(
        {
            key: cast("LiteralString", body.strip())
            for key, body in zip(parts[::2], parts[1::2], strict=True)
        }
    )


FLEET = load("queue/fleet")
JOBS = load("queue/jobs")
SCHEDULES = load("queue/schedules")
SCHEMA = load("queue/schema")
