"""One Postgres of these tests' own, to be stopped at will; a fresh database per test."""

import asyncio
import itertools
import shutil
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from faults.fleet import Fleet
from faults.server import Server
from faults.stage import OpenStage, Stage, set_up
from faults.watch import Watch
from forking import warm_up
from homes import temporary_home

from evalqueue.postgres import schema
from evalqueue.postgres.database import Database

_TEMPLATE = "faults_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Generator[Server]:
    """A running Postgres with a template database: schema, work, witnesses."""
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
def open_stage(server: Server) -> OpenStage:
    @asynccontextmanager
    async def opened(logs: Path) -> AsyncGenerator[Stage]:
        name = f"faults_{next(_numbers)}"
        async with await server.connect() as admin:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY file_copy")
        fleet = Fleet(logs, {})
        async with fleet.at_work():
            yield Stage(
                server=server, database=name, fleet=fleet, watch=Watch(server.address(name))
            )

    return opened


@pytest.fixture
async def stage(open_stage: OpenStage, tmp_path: Path) -> AsyncGenerator[Stage]:
    """A database of the test's own, a watch on it, and a fleet that is gone at the end."""
    async with open_stage(tmp_path) as stage:
        yield stage


async def _prepare(server: Server) -> None:
    await server.start()
    async with await server.connect() as admin:
        await admin.execute(f"CREATE DATABASE {_TEMPLATE}")
    database = Database(server.address(_TEMPLATE))
    await database.open()
    await schema.migrate(database)
    await database.close()
    async with await server.connect(_TEMPLATE) as connection:
        await set_up(connection)
