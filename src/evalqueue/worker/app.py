"""procrastinate's app, so that plain `procrastinate --app=… worker` is our worker.

The app's connector works on our pool, waits for the database, and refuses an outdated schema; its
`run_worker_async` runs our loop, so procrastinate's command line and its flags just work.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import procrastinate
import procrastinate.exceptions
from procrastinate import PsycopgConnector
from procrastinate.jobs import DeleteJobCondition

from evalqueue.handlers import Handlers
from evalqueue.postgres import schema
from evalqueue.postgres.database import Database
from evalqueue.settings import Settings
from evalqueue.telemetry.processes import begin_worker_of_procrastinate
from evalqueue.worker.leader import Retention
from evalqueue.worker.loop import Worker
from evalqueue.worker.options import WorkerOptions

_DELETED_AFTER: dict[DeleteJobCondition, frozenset[str]] = {
    DeleteJobCondition.NEVER: frozenset(),
    DeleteJobCondition.SUCCESSFUL: frozenset({"completed"}),
    DeleteJobCondition.ALWAYS: frozenset({"completed", "failed"}),
}


class Connector(PsycopgConnector):
    """procrastinate's connector on our pool, which is made when the app is opened, not before."""

    def __init__(self, address: Callable[[], str], settings: Settings) -> None:
        super().__init__()
        self._address = address
        self._settings = settings
        self.database: Database | None = None

    async def open_async(self, pool: Any = None) -> None:
        """Open the pool, once the database answers and its schema is the one we need.

        Raises:
            DatabaseUnavailable: no Postgres answered in time.
            SchemaOutdated: `evalqueue migrate` has to run first.
        """
        begin_worker_of_procrastinate(self._settings)
        if self.database is None:
            # Finding the address may start the embedded Postgres, which takes its time.
            address = await asyncio.to_thread(self._address)
            database = Database.of(self._settings, address)
            async with AsyncExitStack() as on_failure:
                await database.open(wait_seconds=self._settings.database_wait_seconds)
                on_failure.push_async_callback(database.close)
                await schema.verify(database)
                on_failure.pop_all()
            self.database = database
        await super().open_async(pool or self.database.pool)

    async def close_async(self) -> None:
        if self.database is not None:
            await self.database.close()
            self.database = None
        self._async_pool = None


class ProcrastinateApp(procrastinate.App):
    """procrastinate's App, whose worker is ours."""

    def __init__(
        self, *, address: Callable[[], str], handlers: Callable[[], Handlers], settings: Settings
    ) -> None:
        self._connector = Connector(address, settings)
        super().__init__(connector=self._connector)
        self._handlers = handlers
        self._settings = settings

    async def run_worker_async(self, **kwargs: Any) -> None:
        """Run our worker with procrastinate's options; see `WorkerOptions` for the defaults."""
        await self.worker(**kwargs).run()

    def worker(self, **kwargs: Any) -> Worker:
        """A worker on this app's database, not yet running.

        Raises:
            AppNotOpen: outside of `open_async`.
        """
        database = self._connector.database
        if database is None:
            raise procrastinate.exceptions.AppNotOpen
        return Worker(
            database=database,
            handlers=self._handlers(),
            options=worker_options(self._settings, **kwargs),
        )


def retention(settings: Settings) -> Retention:
    """How long finished jobs, runs, logs and the audit log are kept."""

    def days(number: float | None) -> timedelta | None:
        return None if number is None else timedelta(days=number)

    return Retention(
        jobs=days(settings.keep_jobs_days),
        runs=days(settings.keep_runs_days),
        logs=days(settings.keep_logs_days),
        audit=days(settings.keep_audit_days),
    )


def worker_options(settings: Settings, **kwargs: Any) -> WorkerOptions:
    """procrastinate's worker options as ours; missing ones come from the settings."""
    given = {key: value for key, value in kwargs.items() if value is not None}
    condition = DeleteJobCondition(given.get("delete_jobs", DeleteJobCondition.NEVER))
    queues = given.get("queues")
    known = {
        key: given[key]
        for key in (
            "name", "wait", "listen_notify", "fetch_job_polling_interval",
            "shutdown_graceful_timeout", "install_signal_handlers", "update_heartbeat_interval",
        )
        if key in given
    }  # fmt: skip
    return WorkerOptions(
        queues=[settings.queue] if queues is None else list(queues),
        concurrency=given.get("concurrency", settings.concurrency),
        delete_tasks_after=_DELETED_AFTER[condition],
        lease_seconds=settings.lease_seconds,
        patience_seconds=settings.patience_seconds,
        version=version("evalqueue"),
        retention=retention(settings),
        metrics_host=settings.metrics_host,
        metrics_port=given.get("metrics_port", settings.metrics_port),
        **known,
    )
