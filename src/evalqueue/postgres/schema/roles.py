"""The rights that each kind of process needs, as SQL for an administrator to run."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files

from procrastinate.schema import SchemaManager

from evalqueue.postgres import definitions
from evalqueue.postgres.schema import ledger

ROLES = ("owner", "worker", "api", "submit", "read")
"""Who migrates; who works; who serves HTTP; who may submit jobs, post messages, and do nothing
else; who may read what is no text of a conversation."""
_TABLE = re.compile(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)
_FUNCTION = re.compile(r"^CREATE (?:OR REPLACE )?FUNCTION (\w+)", re.MULTILINE)
READ_FUNCTIONS = ("evalqueue_waiting_jobs",)
"""Functions of statements that the role `read` may run: `evalqueue queues`."""
SUBMIT_FUNCTIONS = ("evalqueue_submit_job", "evalqueue_post_messages", "evalqueue_post_rows")
"""Functions that the role `submit` may run, with the rights of the owner."""
WATCH_FUNCTIONS = ("evalqueue_watch", "evalqueue_unwatch")
"""Functions that it may run with its own rights, on tables of its own."""
_LEDGER = "evalqueue_migrations"


def tables() -> list[str]:
    """All tables of the schema, and procrastinate's."""
    texts = [SchemaManager.get_schema(), *ledger.own_migrations().values()]
    return sorted({name for text in texts for name in _TABLE.findall(text)} | {_LEDGER})


def own_relations() -> list[str]:
    """The tables and views of the schema, without procrastinate's."""
    found = {name for text in ledger.own_migrations().values() for name in _TABLE.findall(text)}
    return sorted({*found, *_defined("VIEW "), _LEDGER})


def functions() -> list[str]:
    """All functions of the schema, and procrastinate's."""
    return sorted({*own_functions(), *_FUNCTION.findall(SchemaManager.get_schema())})


def own_functions() -> list[str]:
    """Those without procrastinate's."""
    texts = ledger.own_migrations().values()
    found = {name for text in texts for name in _FUNCTION.findall(text)}
    return sorted({*found, *_defined("FUNCTION ")})


def _defined(kind: str) -> list[str]:
    names = definitions.read_definitions()
    return [name.removeprefix(kind) for name in names if name.startswith(kind)]


def readable() -> Mapping[str, Sequence[str]]:
    """The columns of each table that the role `read` may read; empty: all of them."""
    return _declared()["columns"]


def hidden() -> Sequence[str]:
    """The tables of which it may read nothing."""
    return _declared()["hidden"]["tables"]


def _declared() -> Mapping[str, Mapping[str, Sequence[str]]]:
    return tomllib.loads((files("evalqueue.sql") / "readable.toml").read_text("utf-8"))


def grants(*, schema: str, prefix: str) -> str:
    """SQL that makes the roles, without passwords, and gives them their rights. It can be repeated:
    before the first migration, and after it."""
    owner, worker, api, submit, read = (_identifier(f"{prefix}_{role}") for role in ROLES)
    where = _identifier(schema)
    reads = "\n".join(
        f"        PERFORM pg_temp.evalqueue_grant('SELECT{_listed(columns)}', {_text(name)}, "
        f"{_text(read)});"
        for name, columns in readable().items()
    )
    made = "\n".join(
        f"    IF to_regrole({_text(role)}) IS NULL THEN CREATE ROLE {role} LOGIN"
        f"{_BOUNDS.format(role=role) if role == submit else ''}; END IF;"
        for role in (owner, worker, api, submit, read)
    )
    return _SCRIPT.format(
        made=made, where=where, schema=_text(schema), owner=owner, worker=worker, api=api,
        submit=submit, read=read, tables=_array(tables()), functions=_array(functions()),
        own_relations=_array(own_relations()), own_functions=_array(own_functions()),
        reads=reads, read_functions=_array(READ_FUNCTIONS),
        submit_functions=_array(SUBMIT_FUNCTIONS), watch_functions=_array(WATCH_FUNCTIONS),
        ledger=_text(_LEDGER), worker_and_api=f"{worker}, {api}",
    )  # fmt: skip


_BOUNDS = " CONNECTION LIMIT 20; ALTER ROLE {role} SET statement_timeout = '10s'"
"""Before Postgres calls a function, it reads the statement: a large one takes seconds and over a
gigabyte, in each session."""

_SCRIPT = """\
-- For a superuser, before the first `evalqueue migrate` and after it: later ones keep the rights,
-- and say if a role lacks some. It sets no passwords.
BEGIN;
DO $make$ BEGIN
{made}
END $make$;
GRANT USAGE, CREATE ON SCHEMA {where} TO {owner};
GRANT USAGE ON SCHEMA {where} TO {worker_and_api}, {submit}, {read};
REVOKE CREATE ON SCHEMA {where} FROM PUBLIC;
DO $make$ BEGIN
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO {worker_and_api}', current_database());
END $make$;
-- What later migrations make: theirs at once, so that processes go on.
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {where}
    GRANT EXECUTE ON FUNCTIONS TO {worker_and_api};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {where}
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {worker_and_api};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {where}
    GRANT USAGE ON SEQUENCES TO {worker_and_api};
-- What is there. Other tables and functions of the schema are not touched.
CREATE FUNCTION pg_temp.evalqueue_grant(rights text, name text, roles text) RETURNS void
LANGUAGE plpgsql AS $make$ BEGIN
    IF to_regclass(format('%I.%I', {schema}, name)) IS NOT NULL THEN
        EXECUTE format('GRANT %s ON %I.%I TO %s', rights, {schema}, name, roles);
    END IF;
END $make$;
DO $make$
DECLARE
    item text;
BEGIN
    FOREACH item IN ARRAY {tables} LOOP
        PERFORM pg_temp.evalqueue_grant(
            CASE item WHEN {ledger} THEN 'SELECT' ELSE 'SELECT, INSERT, UPDATE, DELETE' END,
            item, '{worker_and_api}');
    END LOOP;
    FOR item IN
        SELECT sequence.relname FROM pg_class AS sequence
            JOIN pg_depend ON objid = sequence.oid AND deptype IN ('a', 'i')
            JOIN pg_class AS made ON made.oid = refobjid
        WHERE sequence.relkind = 'S' AND made.relname = ANY ({tables})
            AND made.relnamespace = to_regnamespace({schema})
    LOOP
        EXECUTE format('GRANT USAGE ON SEQUENCE %I.%I TO {worker_and_api}', {schema}, item);
    END LOOP;
    FOR item IN
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = to_regnamespace({schema}) AND proname = ANY ({functions})
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO {worker_and_api}', item);
    END LOOP;
    -- Ours become the owner's, if another role migrated. Procrastinate's stay as they are.
    FOR item IN
        SELECT oid::regclass::text FROM pg_class
        WHERE relnamespace = to_regnamespace({schema}) AND relname = ANY ({own_relations})
            AND relkind IN ('r', 'v')
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO {owner}', item);
    END LOOP;
    FOR item IN
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = to_regnamespace({schema}) AND proname = ANY ({own_functions})
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO {owner}', item);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', item);
    END LOOP;
    -- They run with the owner's rights and their own search_path, so that EXECUTE is enough.
    FOR item IN
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = to_regnamespace({schema}) AND proname = ANY ({submit_functions})
    LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER', item);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO {submit}', item);
    END LOOP;
    FOR item IN
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = to_regnamespace({schema}) AND proname = ANY ({watch_functions})
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO {submit}', item);
    END LOOP;
{reads}
    -- What counts by the columns that this role may read.
    FOR item IN
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = to_regnamespace({schema}) AND proname = ANY ({read_functions})
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO {read}', item);
    END LOOP;
END $make$;
DROP FUNCTION pg_temp.evalqueue_grant;
COMMIT;"""


def _listed(columns: Sequence[str]) -> str:
    return f" ({', '.join(columns)})" if columns else ""


def _array(names: Sequence[str]) -> str:
    return f"ARRAY[{', '.join(map(_text, names))}]"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
