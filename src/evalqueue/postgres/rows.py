"""Rows in and out: a named statement gives values of a dataclass, one value, or nothing."""

from collections.abc import Iterator, Mapping
from typing import Any, LiteralString, TypeVar

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from evalqueue import codec
from evalqueue.postgres.database import Connection

Row = TypeVar("Row")


class Statements(Mapping[str, LiteralString]):
    """Statements by name, and how to run one. Keyword arguments are its placeholders."""

    def __init__(self, statements: Mapping[str, LiteralString]) -> None:
        self._statements = statements

    def __getitem__(self, name: str, /) -> LiteralString:
        return self._statements[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)

    async def rows(
        self, connection: Connection, kind: type[Row], name: str, /, **arguments: Any
    ) -> list[Row]:
        """All rows, each as a value of a class whose parameters are named like the columns."""
        async with connection.cursor(row_factory=class_row(kind)) as cursor:
            await cursor.execute(self[name], arguments)
            return await cursor.fetchall()

    async def row(
        self, connection: Connection, kind: type[Row], name: str, /, **arguments: Any
    ) -> Row | None:
        """The first row. None: there is none."""
        async with connection.cursor(row_factory=class_row(kind)) as cursor:
            await cursor.execute(self[name], arguments)
            return await cursor.fetchone()

    async def only_row(
        self, connection: Connection, kind: type[Row], name: str, /, **arguments: Any
    ) -> Row:
        """The row of a statement that always returns exactly one."""
        (row,) = await self.rows(connection, kind, name, **arguments)
        return row

    async def mappings(
        self, connection: Connection, name: str, /, **arguments: Any
    ) -> list[dict[str, object]]:
        """All rows, each by the names of its columns."""
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(self[name], arguments)
            return await cursor.fetchall()

    async def value(self, connection: Connection, name: str, /, **arguments: Any) -> Any:
        """The first column of the first row. None: there is no row, or it is NULL."""
        cursor = await connection.execute(self[name], arguments)
        row = await cursor.fetchone()
        return None if row is None else row[0]


def jsonb(value: object) -> Jsonb:
    """A parameter of type jsonb, encoded by `codec.dump_json` on a caller's own connection, too."""
    return Jsonb(value, dumps=codec.dump_json)
