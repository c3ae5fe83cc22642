"""Which rights roles lack, and the GRANTs that give them.

What `evalqueue roles` grants stays true when a migration makes something new: workers and APIs get
it by default privileges, and roles that only read by `complete`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import SCHEMA
from evalqueue.postgres.schema import roles


@dataclass(frozen=True, slots=True, kw_only=True)
class LackedRights:
    """Equal rights that a role lacks on some objects of a type."""

    rights: str
    """`SELECT, INSERT`, for example."""
    object_type: str
    """`TABLE`, `FUNCTION` or `SEQUENCE`."""
    names: Sequence[str]

    def grant(self, role: str) -> str:
        """The statement that gives them; `role` is quoted where it must be."""
        return f"GRANT {self.rights} ON {self.object_type} {', '.join(self.names)} TO {role};"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """The role of a session, and what it lacks of the rights of a worker or an API."""

    name: str
    """Quoted where it must be."""
    writes: bool
    """Whether it may write any table at all."""
    sees_sessions: bool
    """Whether it sees what sessions of other roles do."""
    lacks: Sequence[LackedRights] = ()


async def of_session(connection: Connection) -> Role:
    """The role of a session, once the schema is current."""
    tables = roles.tables()
    lacks = await SCHEMA.rows(
        connection, LackedRights, "lacked_rights", tables=tables, functions=roles.functions()
    )
    role = await SCHEMA.only_row(connection, Role, "role", tables=tables)
    return replace(role, lacks=lacks)


async def complete(connection: Connection) -> list[str]:
    """Give the roles that only read what they may read of what is new.

    Returns:
        the roles that change jobs and lack rights on something: it was made by another role than
        the one whose default privileges give them.
    """
    cursor = await connection.execute(SCHEMA["readers"])
    readers = [sql.SQL(name) for (name,) in await cursor.fetchall()]
    for table, columns in roles.readable().items() if readers else ():
        listed = sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Identifier, columns)))
        await connection.execute(
            sql.SQL("GRANT SELECT {} ON {} TO {}").format(
                listed if columns else sql.SQL(""),
                sql.Identifier(table),
                sql.SQL(", ").join(readers),
            )
        )
    for name in roles.READ_FUNCTIONS if readers else ():
        await connection.execute(
            sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(
                sql.Identifier(name), sql.SQL(", ").join(readers)
            )
        )
    cursor = await connection.execute(
        SCHEMA["lacking_roles"], {"tables": roles.tables(), "functions": roles.functions()}
    )
    return [name for (name,) in await cursor.fetchall()]
