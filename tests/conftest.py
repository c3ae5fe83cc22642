"""The real parts every test stands on: one Postgres per session, a fresh database per test."""

import asyncio
import itertools
import shutil
import signal
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import psycopg
import pytest
from homes import temporary_home
from hypothesis import settings as hypothesis_settings

from evalqueue.postgres import schema
from evalqueue.postgres.database import Database
from evalqueue.postgres.embedded.server import Embedded

# A shell's background job, as CI may be one, is born deaf to Ctrl-C, and so would be the processes
# it starts, which tests stop by it.
signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis_settings.register_profile("evalqueue", deadline=None)  # the machine may be busy
hypothesis_settings.load_profile("evalqueue")

_TESTS = Path(__file__).parent
_TEMPLATE = "evalqueue_template"
_TABLES = [
    "adversarial_cases", "adversarial_dialogues", "adversarial_evaluations", "adversarial_turns",
    "alert_events", "alerts", "annotation_items", "annotation_leases", "annotation_queues",
    "api_logs", "api_sessions", "app_versions", "apps", "audit_log", "credential_leases",
    "dataset_owners", "dataset_threads", "datasets",
    "eval_job_types", "eval_runs",
    "job_attempts", "job_items", "job_leader", "job_queues", "job_schedules", "job_workers", "jobs",
    "labels",
    "llm_batches", "llm_cap_holders", "llm_caps", "llm_credentials", "llm_demand",
    "llm_questions", "llm_usage",
    "posted_messages", "posted_readings", "posted_threads",
    "procrastinate_events", "procrastinate_jobs", "procrastinate_periodic_defers",
    "procrastinate_workers", "run_shares", "saved_cases", "scores", "skipped_rows",
    "source_positions", "source_readings",
    "thread_evaluations", "thread_notes", "tried_conversations", "watched_rows",
]  # fmt: skip
TYPES_WITH_A_RUN = ("evaluate-batch", "evaluate-adversarial", "evaluate-it")
"""The built-in job types, and one of a third party."""
_LARGE_BYTES = 64 * 1024
_SESSIONS = "SELECT 1 FROM pg_stat_activity WHERE datname = %s"
"""Those of the test before end a little later, and only then does Postgres count what they did."""
_numbers = itertools.count(1)

_LONGEST_FIRST = (
    "faults/test_statement_matrix.py", "http/test_rights.py", "page/test_looks.py",
    "page/test_pictures.py",
    "acceptance/test_limits.py", "docs/test_examples.py", "install/test_run.py",
    "cli/test_stack.py", "acceptance/test_economy.py", "comparison/test_gate.py",
    "labels/test_labels.py", "faults/test_worker_sessions.py",
)  # fmt: skip
"""Files that take minutes: one that is started last runs alone when all others are over."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files for pytest-xdist, which hands them out one by one."""
    order = {_TESTS / name: place for place, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(scope="session")
def postgres() -> Generator[str]:
    """The address of a Postgres of this session's own, with a migrated template database."""
    home = temporary_home("evalqueue-tests-")
    server = Embedded(home)
    with psycopg.connect(server.url, autocommit=True) as connection:
        # Nothing here has to survive a power cut.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET full_page_writes = off")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(f"CREATE DATABASE {_TEMPLATE}")
    asyncio.run(_migrate(database_address(server.url, _TEMPLATE)))
    with psycopg.connect(database_address(server.url, _TEMPLATE), autocommit=True) as connection:
        _declare(connection)
    try:
        yield server.url
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def empty_dsn(postgres: str) -> Generator[str]:
    """The address of a database with nothing in it."""
    name = f"empty_{next(_numbers)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield url_of(database_address(postgres, name))
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def _clean_databases(postgres: str) -> list[str]:
    """Names of databases with the current schema and no rows: one is made in a third of a second,
    and cleaned in a hundredth."""
    return []


@pytest.fixture
def dsn(postgres: str, _clean_databases: list[str]) -> Generator[str]:
    """The address of a database with the current schema and no rows."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        if _clean_databases:
            name = _clean_databases.pop()
            while connection.execute(_SESSIONS, [name]).rowcount:
                time.sleep(0.005)
        else:
            name = f"test_{next(_numbers)}"
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        yield url_of(database_address(postgres, name))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        if _clean(database_address(postgres, name)):
            _clean_databases.append(name)
        else:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _clean(dsn: str) -> bool:
    """Empty every table; False when the test left another schema than it found.

    TRUNCATE takes a sixth of a second for all tables, as it makes new files for them and their
    indexes, and DELETE next to nothing for the few rows that most tests leave. The locks keep out
    what a session that was just terminated still commits.
    """
    with psycopg.connect(dsn, autocommit=True) as connection, connection.transaction():
        cursor = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', "
            "'information_schema') AND tablename <> 'evalqueue_migrations' ORDER BY tablename"
        )
        tables = [table for (table,) in cursor.fetchall()]
        connection.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
        cursor = connection.execute(
            "SELECT t::text, pg_relation_size(t) FROM unnest(%s::regclass[]) t", [tables]
        )
        sizes = dict(cursor.fetchall())
        if large := [table for table, size in sizes.items() if size > _LARGE_BYTES]:
            connection.execute(f"TRUNCATE {', '.join(large)} CASCADE")
        connection.execute("SET LOCAL session_replication_role = replica")  # no triggers
        for table in (table for table, size in sizes.items() if 0 < size <= _LARGE_BYTES):
            connection.execute(f"DELETE FROM {table}")
        connection.execute(
            "SELECT setval(format('%I.%I', schemaname, sequencename), start_value, false)"
            " FROM pg_sequences WHERE last_value IS NOT NULL"
        )
        _declare(connection)
        row = connection.execute("SELECT count(*) FROM evalqueue_migrations").fetchone()
    return tables == _TABLES and row is not None and row[0] >= len(schema.own_migrations())


def _declare(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO eval_job_types SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
        [list(TYPES_WITH_A_RUN)],
    )


@pytest.fixture
async def database(dsn: str) -> AsyncGenerator[Database]:
    """An open pool on a fresh database."""
    database = Database(dsn)
    await database.open()
    yield database
    await database.close()


def database_address(server: str, name: str) -> str:
    return psycopg.conninfo.make_conninfo(server, dbname=name)


def url_of(conninfo: str) -> str:
    """A keyword address as a URL, which every driver and the environment take."""
    parts = psycopg.conninfo.conninfo_to_dict(conninfo)
    return f"postgresql://{parts['user']}@/{parts['dbname']}?host={parts['host']}"


async def _migrate(dsn: str) -> None:
    database = Database(dsn)
    await database.open()
    await schema.migrate(database)
    await database.close()
