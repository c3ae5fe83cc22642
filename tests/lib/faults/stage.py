"""Where a scenario plays: a database with work and witnesses in it, a network, a fleet."""

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
class Stage:
    """All the parts of one scenario, on a database of its own."""

    server: Server
    database: str
    fleet: Fleet
    watch: Watch

    @property
    def address(self) -> str:
        """The database itself, with no network in between."""
        return self.server.address(self.database)

    @property
    def gate(self) -> Path:
        """A file that is not there yet, for work that waits until it is (`Steps.gate`)."""
        return self.fleet.logs / "gate"

    def behind(self, proxy: Proxy) -> str:
        return self.server.address(self.database, port=proxy.port)

    def proxy(self) -> Proxy:
        """A network, not yet open."""
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
        """A worker that is ready for work."""
        address = self.address if proxy is None else self.behind(proxy)
        return await self.fleet.start(address, *flags, **how).ready()

    async def until_over(self, *jobs: Job) -> None:
        await self.watch.until(
            "SELECT bool_and(completed_at IS NOT NULL) FROM jobs WHERE id = ANY (%s)",
            [job.id for job in jobs],
        )

    async def until_begun(self, job: Job) -> None:
        """Wait until its handler works on the items."""
        await self.watch.until(
            "SELECT (progress ->> 'total')::integer > 0 FROM jobs WHERE id = %s", job.id
        )

    async def until_kept(self, job: Job, items: int = 1) -> None:
        """Wait until so many items of a job are kept."""
        await self.watch.until(
            "SELECT count(*) >= %s FROM faults.effects WHERE job_id = %s", items, job.id
        )

    async def expire(self, *jobs: Job) -> None:
        """Let the leases of those that run be over now, and their workers be found lost: at one
        moment, so that no sign of life of theirs comes in between."""
        ids = [job.id for job in jobs]
        async with await self.server.connect(self.database) as connection, connection.transaction():
            await connection.execute(  # in the order in which everybody locks
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
        """Everything is over and nothing is wrong."""
        await self.watch.until("SELECT bool_and(completed_at IS NOT NULL) FROM jobs")
        report = await checker.check(self.address, calls_in_flight=calls_in_flight)
        logger.info("%s", report.summary)
        assert not report.findings, "\n".join([report.summary, *map(str, report.findings)])


class OpenStage(Protocol):
    """Opens a stage whose workers log into a directory."""

    def __call__(self, logs: Path) -> AbstractAsyncContextManager[Stage]: ...


async def set_up(connection: Connection) -> None:
    """The tables of work and witnesses, in a database that has the product's schema."""
    for schema in (work.SCHEMA, checker.SCHEMA, injector.SCHEMA):
        await connection.execute(schema)
