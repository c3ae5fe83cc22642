"""Makes the server refuse whole statements of a worker: each of the product's SQL functions is put
behind one of the test's own, which raises an SQLSTATE first.
"""

from collections.abc import Sequence
from typing import LiteralString

from psycopg import sql

from faults.server import Connection

SCHEMA: LiteralString = """
CREATE SCHEMA faults_real;  -- a function's body may name it: it keeps its name
CREATE TABLE faults.refusals (name text NOT NULL, sqlstate text NOT NULL, up_to bigint NOT NULL);
-- A sequence counts the refusals, because a rollback does not reset it.
CREATE FUNCTION faults.refuse(called text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    code text;
    so_far bigint;
BEGIN
    EXECUTE format('SELECT last_value - 1 FROM faults.%I', 'of_' || called) INTO so_far;
    SELECT sqlstate INTO code FROM faults.refusals WHERE name = called AND up_to > so_far;
    IF FOUND THEN
        PERFORM nextval('faults.of_' || called);
        RAISE EXCEPTION 'refused: %', called USING ERRCODE = code;
    END IF;
END;
$$;
"""

_PARTS = """
SELECT pg_get_function_identity_arguments(oid), pg_get_function_arguments(oid),
    pg_get_function_result(oid), pronargs
FROM pg_proc WHERE proname = %s
"""


async def install(connection: Connection, names: Sequence[str]) -> None:
    """Put a function that can refuse in front of each of these."""
    await connection.execute(SCHEMA)
    for name in names:
        # Counts from 1, so that its value says how often it was used.
        await connection.execute(
            sql.SQL("CREATE SEQUENCE faults.{} START 2; SELECT setval({}, 1)").format(
                sql.Identifier(f"of_{name}"), sql.Literal(f"faults.of_{name}")
            )
        )
        await _wrap(connection, name)


async def refuse(
    connection: Connection, name: str, sqlstate: str, *, times: int | None = None
) -> int:
    """Refuse a function so many times; None: until `allow`. Returns how many times it will have
    been refused then."""
    up_to = 2**62 if times is None else times + await refusals(connection, name)
    await connection.execute(
        "INSERT INTO faults.refusals VALUES (%s, %s, %s)", [name, sqlstate, up_to]
    )
    return up_to


async def refusals(connection: Connection, name: str) -> int:
    """How many times a function was refused so far."""
    cursor = await connection.execute(
        sql.SQL("SELECT last_value - 1 FROM faults.{}").format(sql.Identifier(f"of_{name}"))
    )
    row = await cursor.fetchone()
    assert row is not None
    return row[0]


async def allow(connection: Connection) -> None:
    """Refuse nothing any more."""
    await connection.execute("TRUNCATE faults.refusals")


async def _wrap(connection: Connection, name: str) -> None:
    (found,) = await (await connection.execute(_PARTS, [name])).fetchall()
    identity, arguments, result, count = found
    real = sql.Identifier("faults_real", name)
    await connection.execute(
        sql.SQL("ALTER FUNCTION {}({}) SET SCHEMA faults_real").format(
            sql.Identifier(name), sql.SQL(identity)
        )
    )
    passed = sql.SQL(", ").join(sql.SQL(f"${number}") for number in range(1, count + 1))
    call = sql.SQL("SELECT * FROM {}({})").format(real, passed)
    await connection.execute(
        sql.SQL(
            "CREATE FUNCTION {}({}) RETURNS {} LANGUAGE sql SET search_path FROM CURRENT"
            " AS {}"
        ).format(
            sql.Identifier(name), sql.SQL(arguments), sql.SQL(result),
            sql.Literal(
                sql.SQL("SELECT faults.refuse({}); {}")
                .format(sql.Literal(name), call)
                .as_string(connection)
            ),
        )
    )  # fmt: skip
