"""Addresses of databases: errors about invalid ones don't repeat them, and no command waits for
what waiting won't change.
"""

import time

import pytest
from pydantic import ValidationError

from evalqueue import Client, DatabaseUnavailable, Settings
from evalqueue.postgres.addresses import asyncpg_dsn, without_secrets
from evalqueue.postgres.database import Database

UNREADABLE = [
    "postgresql+psycopg://u:secret@h/d", "mysql://u:secret@h", "secret",
    # Without percent-encoding, a part of the password is read as a port, a database or a host.
    "postgresql://u:secret/secret@h/d", "postgresql://u:123/secret@h/d",
    "postgresql://u:x@secret@h/d", "postgresql://u:secret@secret/x@h/d",
]  # fmt: skip


@pytest.mark.parametrize("address", UNREADABLE)
def test_an_address_that_cannot_be_read_is_refused_and_not_repeated(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DATABASE_URL", address)
    with pytest.raises(ValidationError, match="not a Postgres address") as by_settings:
        Settings()
    with pytest.raises(ValueError, match="not a Postgres address") as by_client:
        Client(address)

    assert "secret" not in str(by_settings.value)
    assert "secret" not in str(by_client.value)


@pytest.mark.parametrize("address", [
    "postgresql://u:se%2Fcr%40et@h/d", "postgresql://u:se?cret@h:5432,i:5433/d?sslmode=require",
    "postgresql://u@/d?host=/tmp/a@b", "postgresql://u@%2Ftmp%2Fx/d", "postgres://[::1]:5432/d",
    "postgresql://", "host=/tmp dbname=d password=se@cr/et", "dbname=d",
])  # fmt: skip
def test_an_address_that_libpq_reads_as_it_is_meant_is_accepted(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DATABASE_URL", address)
    assert Settings().database_address == address


async def test_an_unknown_database_is_refused_at_once_and_the_password_not_shown(dsn: str):
    unknown = dsn.replace("postgres@/", "postgres:secret@/no_such_database_")
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="does not exist") as refused:
        await Database(unknown).open(wait_seconds=60)

    assert time.monotonic() - began < 30
    assert "secret" not in str(refused.value)


async def test_a_server_that_is_not_there_is_waited_for_and_then_reported(
    caplog: pytest.LogCaptureFixture,
):
    with pytest.raises(DatabaseUnavailable, match="Is it running"):
        await Database("postgresql://u:secret@127.0.0.1:1/d").open(wait_seconds=3.0)

    assert "Waiting up to" in caplog.text
    assert "secret" not in caplog.text


def test_asyncpg_is_given_only_the_words_it_knows():
    address = "postgresql://u:p@h:5/d?options=-csearch_path%3Dx&keepalives=1&requirepeer=me"

    given = asyncpg_dsn(address)

    assert "requirepeer" not in given
    assert "keepalives" not in given
    assert "search_path" in given
    assert "password" not in without_secrets(address)
