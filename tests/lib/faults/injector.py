"""Makes the server raise errors in the product's own statements.

A trigger raises the SQLSTATE of a row in `faults.injections` when a statement writes a row of its
job. A sequence counts the errors raised so far, because a rollback does not reset it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import LiteralString
from uuid import UUID

from evalqueue.postgres.database import Connection

STATES: Mapping[str, str] = MappingProxyType(
    {
        "57014": "canceling statement due to statement timeout",
        "40P01": "deadlock detected",
        "40001": "could not serialize access due to concurrent update",
        "55P03": "canceling statement due to lock timeout",
        "25006": "cannot execute UPDATE in a read-only transaction",
        "53100": "could not extend file: No space left on device",
    }
)
"""SQLSTATEs of transient errors, each with the server's message."""

SCHEMA: LiteralString = """
CREATE SCHEMA IF NOT EXISTS faults;
CREATE TABLE faults.injections (
    job_id uuid NOT NULL,
    statement text NOT NULL,   -- a regular expression for the text of the statement
    sqlstate text NOT NULL,
    message text NOT NULL,
    times integer NOT NULL,
    counter regclass NOT NULL
);

CREATE FUNCTION faults.inject() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    hit record;
BEGIN
    FOR hit IN SELECT * FROM faults.injections AS i
        WHERE i.job_id = CASE TG_TABLE_NAME
            WHEN 'jobs' THEN to_jsonb(NEW) ->> 'id'
            WHEN 'procrastinate_jobs' THEN to_jsonb(NEW) -> 'args' ->> 'job_id'
            ELSE to_jsonb(NEW) ->> 'job_id' END::uuid
        AND current_query() ~ i.statement
    LOOP
        IF nextval(hit.counter) <= hit.times THEN
            RAISE EXCEPTION '%', hit.message USING ERRCODE = hit.sqlstate;
        END IF;
    END LOOP;
    RETURN NEW;
END;
$$;

CREATE TRIGGER faults_inject BEFORE INSERT OR UPDATE ON jobs
    FOR EACH ROW EXECUTE FUNCTION faults.inject();
CREATE TRIGGER faults_inject BEFORE INSERT OR UPDATE ON job_attempts
    FOR EACH ROW EXECUTE FUNCTION faults.inject();
CREATE TRIGGER faults_inject BEFORE UPDATE ON procrastinate_jobs
    FOR EACH ROW EXECUTE FUNCTION faults.inject();
CREATE TRIGGER faults_inject BEFORE INSERT ON faults.effects
    FOR EACH ROW EXECUTE FUNCTION faults.inject();
"""


async def inject(
    connection: Connection, job_id: UUID, *, statement: str, sqlstate: str, times: int
) -> None:
    """Make a statement fail so many times for this job."""
    counter = f"faults.left_{job_id.hex}"
    await connection.execute(f"CREATE SEQUENCE {counter}".encode())
    await connection.execute(
        "INSERT INTO faults.injections VALUES (%s, %s, %s, %s, %s, %s)",
        [job_id, statement, sqlstate, STATES[sqlstate], times, counter],
    )


async def unused(connection: Connection) -> list[tuple[str, str]]:
    """Injections that were raised less often than requested. A test with one proves nothing."""
    cursor = await connection.execute(
        "SELECT statement, sqlstate, times, counter FROM faults.injections"
    )
    unused_ones: list[tuple[str, str]] = []
    for statement, sqlstate, times, counter in await cursor.fetchall():
        calls = await connection.execute(f"SELECT last_value, is_called FROM {counter}".encode())
        row = await calls.fetchone()
        if row is None or not row[1] or row[0] < times:
            unused_ones.append((statement, sqlstate))
    return unused_ones
