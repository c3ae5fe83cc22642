"""`PG…` variables in the shell beside DATABASE_URL: both drivers honour them, or one line says why
not."""

import time
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import pytest

from evalqueue import DatabaseUnavailable
from evalqueue.postgres.addresses import asyncpg_dsn
from evalqueue.postgres.database import Database


def parts_of(dsn: str) -> tuple[str, str, str]:
    parts = urlsplit(dsn)
    return parts.username or "", parts.path.lstrip("/"), dict(parse_qsl(parts.query))["host"]


async def answers(conninfo: str, query: str) -> set[object]:
    """What both drivers' sessions say."""
    async with opened(conninfo) as database, database.connection() as connection:
        cursor = await connection.execute(query)  # pyright: ignore[reportArgumentType]
        row = await cursor.fetchone()
    listening = await asyncpg.connect(asyncpg_dsn(conninfo))
    second = await listening.fetchval(query)
    await listening.close()
    assert row is not None
    return {row[0], second}


class opened:  # noqa: N801  used as a function
    def __init__(self, conninfo: str) -> None:
        self.database = Database(conninfo)

    async def __aenter__(self) -> Database:
        await self.database.open(wait_seconds=20)
        return self.database

    async def __aexit__(self, *_: object) -> None:
        await self.database.close()


async def test_the_server_s_address_may_come_from_variables(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    user, name, host = parts_of(empty_dsn)
    for variable, value in [
        ("PGUSER", user), ("PGHOST", host), ("PGDATABASE", "nothing"), ("PGPASSWORD", "secret"),
        ("PGSSLMODE", "prefer"), ("PGTARGETSESSIONATTRS", "read-write"), ("PGAPPNAME", "mine"),
    ]:  # fmt: skip
        monkeypatch.setenv(variable, value)
    where = "SELECT current_database() || ' ' || current_setting('application_name')"
    assert await answers(f"postgresql:///{name}", where) == {f"{name} mine"}


@pytest.mark.parametrize("in_the_address", [False, True])
async def test_a_service_of_the_service_file_is_known_to_both(
    in_the_address: bool, empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    user, name, host = parts_of(empty_dsn)
    (tmp_path / "services").write_text(f"[mine]\nhost={host}\nuser={user}\ndbname={name}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    if not in_the_address:
        monkeypatch.setenv("PGSERVICE", "mine")
    address = "postgresql://?service=mine" if in_the_address else "postgresql://"
    assert await answers(address, "SELECT current_database()") == {name}


@pytest.mark.parametrize("encoding", ["LATIN1", "nonsense"])
async def test_options_and_other_settings_reach_both_sessions(
    encoding: str, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PGOPTIONS", "-c search_path=elsewhere -c statement_timeout=7s")
    monkeypatch.setenv("PGCLIENTENCODING", encoding)
    monkeypatch.setenv("PGTZ", "Asia/Kolkata")
    path = "SELECT current_setting('search_path') || current_setting('statement_timeout')"
    assert await answers(empty_dsn, path) == {"elsewhere7s"}
    assert await answers(empty_dsn, "SELECT '→ ನಮಸ್ಕಾರ'") == {"→ ನಮಸ್ಕಾರ"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PGREQUIREAUTH", "scram-sha-256"), ("PGCHANNELBINDING", "require")],
)
async def test_what_one_driver_can_t_guarantee_is_refused_with_its_name(
    variable: str, value: str, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(DatabaseUnavailable, match=f"Unset {variable}"):
        await Database(empty_dsn).open()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PGTZ", "Nowhere/Nothing"), ("PGOPTIONS", "--nothing=1"), ("PGSERVICE", "nothing"),
        ("PGSSLMODE", "nonsense"), ("PGTARGETSESSIONATTRS", "nonsense"),
        ("PGCHANNELBINDING", "nonsense"), ("PGGEQO", "nonsense"), ("PGSSLNEGOTIATION", "direct"),
    ],
)  # fmt: skip
async def test_a_wrong_value_is_refused_at_once_with_its_name(
    variable: str, value: str, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(variable, value)
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match=f"These count, too: .*{variable}"):
        await Database(empty_dsn).open(wait_seconds=60)
    assert time.monotonic() - began < 30


async def test_a_variable_that_keeps_a_server_from_answering_is_named(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
    with pytest.raises(
        DatabaseUnavailable,
        match=r"does not answer.*These count, too: .*PGTARGETSESSIONATTRS",
    ):
        await Database(empty_dsn).open(wait_seconds=0.5)
