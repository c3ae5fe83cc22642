"""A deployment under test: a database with test tables in it, and a fleet of workers."""

import logging
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from evalqueue import Client, Job, JobParams
from faults import checker, injector, work
from faults.fleet import Fleet, Worker
from faults.proxy import Proxy
from faults.server import Connection, Server
from faults.watch import Watch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A database of the test's own, its workers, and what the test needs to use them."""

    server: Server
    database: str
    fleet: Fleet
    watch: Watch

    @property
    def address(self) -> str:
        """The address of the database, without a proxy."""
        return self.server.address(self.database)

    @property
    def gate(self) -> Path:
        """The path of a file that jobs wait for (`Steps.gate`). The test creates it."""
        return self.fleet.logs / "gate"

    def behind(self, proxy: Proxy) -> str:
        """The address of the database through a proxy."""
        return self.server.address(self.database, port=proxy.port)

    def proxy(self) -> Proxy:
        """A proxy in front of the server, not yet open."""
        return Proxy(self.server.port)

    async def submit(self, params: JobParams, **how: Any) -> Job:
        async with Client(self.address) as client:
            return await client.submit(params, **how)

    async def cancel(self, job: Job) -> Any:
        async with Client(self.address) as client:
            return await client.cancel(job.id)

    async def get(self, job: Job) -> Job:
        async with Client(self.address) as client:
            return await client.get(job.id)

    async def worker(self, proxy: Proxy | None = None, *flags: str, **how: Any) -> Worker:
        """Start a worker and wait until it is ready."""
        address = self.address if proxy is None else self.behind(proxy)
        return await self.fleet.start(address, *flags, **how).ready()

    async def until_over(self, *jobs: Job) -> None:
        await self.watch.until(
            "SELECT bool_and(completed_at IS NOT NULL) FROM jobs WHERE id = ANY (%s)",
            [job.id for job in jobs],
        )

    async def until_begun(self, job: Job) -> None:
        """Wait until the job's handler has started on its items."""
        await self.watch.until(
            "SELECT (progress ->> 'total')::integer > 0 FROM jobs WHERE id = %s", job.id
        )

    async def until_stored(self, job: Job, items: int = 1) -> None:
        """Wait until so many items of a job are stored."""
        await self.watch.until(
            "SELECT count(*) >= %s FROM faults.effects WHERE job_id = %s", items, job.id
        )

    async def expire(self, *jobs: Job) -> None:
        """Expire the leases of running jobs and recover the jobs, in one transaction, so that no
        worker can renew its lease in between."""
        ids = [job.id for job in jobs]
        async with await self.server.connect(self.database) as connection, connection.transaction():
            await connection.execute(  # in the order in which all statements lock
                "SELECT FROM procrastinate_jobs WHERE id IN "
                "(SELECT task_id FROM jobs WHERE id = ANY (%s)) ORDER BY id FOR UPDATE",
                [ids],
            )
            await connection.execute(
                "UPDATE jobs SET lease_expires_at = clock_timestamp() - interval '1 second' "
                "WHERE id = ANY (%s) AND status = 'running'",
                [ids],
            )
            await connection.execute("SELECT evalqueue_recover_jobs()")
            running = await connection.execute(
                "SELECT id FROM jobs WHERE id = ANY (%s) AND status = 'running'", [ids]
            )
            assert await running.fetchall() == []

    async def assert_sound(self, *, calls_in_flight: int = 0) -> None:
        """Wait until all jobs are over, and assert that the checker has no findings."""
        await self.watch.until("SELECT bool_and(completed_at IS NOT NULL) FROM jobs")
        report = await checker.check(self.address, calls_in_flight=calls_in_flight)
        logger.info("%s", report.summary)
        assert not report.findings, "\n".join([report.summary, *map(str, report.findings)])


class OpenDeployment(Protocol):
    """Opens a deployment whose workers write their logs into a directory."""

    def __call__(self, logs: Path) -> AbstractAsyncContextManager[Deployment]: ...


async def create_tables(connection: Connection) -> None:
    """Create the tests' tables and triggers in a database that has the product's schema."""
    for schema in (work.SCHEMA, checker.SCHEMA, injector.SCHEMA):
        await connection.execute(schema)
