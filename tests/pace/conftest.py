"""The ledger, with time under the test's control."""

from collections.abc import Generator

import psycopg
import pytest
from virtual_pace import Ledger


@pytest.fixture
def ledger(dsn: str) -> Generator[Ledger]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield Ledger(connection)
