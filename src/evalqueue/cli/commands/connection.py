"""A client on the database of the settings, for the commands."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from evalqueue import settings
from evalqueue.client import Client
from evalqueue.postgres import schema


@asynccontextmanager
async def open_client(*, verify_schema: bool = True) -> AsyncGenerator[Client]:
    """A client on the database of the settings; starts the embedded Postgres if none is named.

    Raises:
        DatabaseUnavailable: it does not answer.
        SchemaOutdated: the schema is to be verified, and is outdated.
    """
    from evalqueue import daemon

    current = settings.read()
    address = await asyncio.to_thread(daemon.address, current)  # may start the embedded Postgres
    async with Client(address, settings=current) as client:
        if verify_schema:
            await schema.verify(await client.database())
        yield client


def register_job_types(client: Client) -> None:
    """Add the job types of this process, so that params are checked before they are stored."""
    from evalqueue import daemon

    for job_type in daemon.job_types():
        client.job_types.add(job_type)
