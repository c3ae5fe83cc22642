"""A Postgres that these tests can stop, and a new database for each test."""

import asyncio
import itertools
import shutil
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from faults.deployment import Deployment, OpenDeployment, create_tables
from faults.fleet import Fleet
from faults.server import Server
from faults.watch import Watch
from forking import warm_up
from homes import temporary_home

from evalqueue.postgres import schema
from evalqueue.postgres.database import Database

_TEMPLATE = "faults_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Generator[Server]:
    """A running Postgres with a template database: the product's schema and the tests' tables."""
    warm_up()
    home = temporary_home("evalqueue-faults-")
    server = Server(home)
    asyncio.run(_prepare(server))
    try:
        yield server
    finally:
        asyncio.run(server.stop())
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def open_deployment(server: Server) -> OpenDeployment:
    @asynccontextmanager
    async def opened(logs: Path) -> AsyncGenerator[Deployment]:
        name = f"faults_{next(_numbers)}"
        async with await server.connect() as admin:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY file_copy")
        fleet = Fleet(logs, {})
        async with fleet.running():
            yield Deployment(
                server=server, database=name, fleet=fleet, watch=Watch(server.address(name))
            )

    return opened


@pytest.fixture
async def deployment(open_deployment: OpenDeployment, tmp_path: Path) -> AsyncGenerator[Deployment]:
    """A database of the test's own and its workers, which are killed at the end."""
    async with open_deployment(tmp_path) as deployment:
        yield deployment


async def _prepare(server: Server) -> None:
    await server.start()
    async with await server.connect() as admin:
        await admin.execute(f"CREATE DATABASE {_TEMPLATE}")
    database = Database(server.address(_TEMPLATE))
    await database.open()
    await schema.migrate(database)
    await database.close()
    async with await server.connect(_TEMPLATE) as connection:
        await create_tables(connection)
