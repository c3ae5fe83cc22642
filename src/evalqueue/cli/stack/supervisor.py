"""Runs a plan's processes while some work is done, and stops them in order afterwards.

The worker is stopped first, so that it can finish and store what it is working on; the database is
stopped last.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Generator

from evalqueue.cli.stack import plan as specs
from evalqueue.cli.stack.child import ChildExited, ChildProcess, ChildSpec, LineHandler
from evalqueue.cli.stack.plan import StackAddresses, StackPlan
from evalqueue.environment import override
from evalqueue.errors import SchemaOutdated
from evalqueue.evaluators.providers.vendors.simulated import SIMULATED
from evalqueue.postgres import schema
from evalqueue.postgres.database import Database
from evalqueue.postgres.embedded.server import Embedded

QUICK_EXIT_SECONDS = 10.0  # a child that ends sooner did not really start
QUICK_EXITS_MAX = 5
RESTART_DELAY_MAX_SECONDS = 30.0
POSTGRES_CHECK_SECONDS = 1.0  # Postgres is no child of this process, so its end is not signalled

Work = Callable[[StackAddresses], Awaitable[None]]


class Stack:
    """The processes of one plan."""

    def __init__(self, plan: StackPlan, on_line: LineHandler) -> None:
        self._plan = plan
        self._on_line = on_line
        self._postgres: Embedded | None = None
        self._children: dict[str, ChildProcess] = {}
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self, work: Work) -> bool:
        """Start everything, do the work, stop everything.

        Returns:
            whether the work was completed; False: a signal ended it.

        Raises:
            ExceptionGroup: the errors; `ChildExited` if a child did not keep running.
        """
        with self._signals():
            try:
                async with asyncio.TaskGroup() as group:
                    working = group.create_task(self._work(work))
                    stopping = group.create_task(self._stop.wait())
                    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
                    finished = working.done()
                    working.cancel()
                    stopping.cancel()
            finally:
                await self._stop_all()
        return finished

    async def _work(self, work: Work) -> None:
        database = await self._open_database()
        environment = override(
            self._plan.environment, {"DATABASE_URL": database, "PYTHONUNBUFFERED": "1"}
        )
        if self._postgres is not None:  # libpq's variables are meant for other servers
            environment = {k: v for k, v in environment.items() if not k.startswith("PG")}
        simulated = None
        if self._plan.simulated:
            simulated = await self._start(specs.simulated_provider(environment))
            environment = override(environment, {
                "EVALQUEUE_LLM_PROVIDER": SIMULATED.name, "EVALQUEUE_SIMULATED_URL": simulated,
            })  # fmt: skip
        chatbot = None
        if self._plan.chatbot is not None:
            chatbot = await self._start(specs.simulated_chatbot(environment, self._plan.chatbot))
            environment = override(environment, {"EVALQUEUE_CHATBOT_URL": chatbot})
        async with asyncio.TaskGroup() as starting:
            api = starting.create_task(self._start(specs.api(environment, self._plan)))
            starting.create_task(self._start(specs.worker(environment, self._plan)))
        async with asyncio.TaskGroup() as watching:
            watchers = [
                watching.create_task(self._restart_on_exit(name)) for name in self._children
            ]
            if self._postgres is not None:
                watchers.append(watching.create_task(self._keep_running(self._postgres)))
            await work(
                StackAddresses(
                    api=api.result(), database=database, simulated=simulated, chatbot=chatbot
                )
            )
            for watcher in watchers:
                watcher.cancel()

    async def _open_database(self) -> str:
        address = self._plan.settings.database_address
        if address is None:
            address = await asyncio.to_thread(self._start_postgres)
        database = Database.of(self._plan.settings, address, max_size=2)
        await database.open(wait_seconds=self._plan.settings.database_wait_seconds)
        try:
            for name in await schema.migrate(database):
                self._on_line("migrate", f"applied {name}")
        except SchemaOutdated as error:
            if self._postgres is None:
                raise
            raise SchemaOutdated(
                f"{error} It is in {self._plan.settings.home / 'pgdata'}: "
                "remove that directory to make it anew, with all results in it."
            ) from error
        finally:
            await database.close()
        return address

    def _start_postgres(self) -> str:
        self._postgres = Embedded(self._plan.settings.home)
        return self._postgres.url

    async def _start(self, spec: ChildSpec) -> str:
        child = ChildProcess(spec, self._on_line)
        self._children[spec.name] = child
        return await child.start()

    async def _restart_on_exit(self, name: str) -> None:
        """Restart a child when it ends, at its address: meanwhile the others wait for it."""
        quick_exits = 0
        while True:
            began = time.monotonic()
            child = self._children[name]
            error = await child.exited()
            quick_exits = quick_exits + 1 if time.monotonic() - began < QUICK_EXIT_SECONDS else 0
            if quick_exits >= QUICK_EXITS_MAX:
                raise error
            delay = min(RESTART_DELAY_MAX_SECONDS, 2.0**quick_exits)
            self._on_line(name, f"{error}. Restarting it in {delay:.0f} s.")
            await asyncio.sleep(delay)
            with contextlib.suppress(ChildExited):  # the next round counts it
                await self._start(child.spec_of_restart)

    async def _keep_running(self, postgres: Embedded) -> None:
        """Start Postgres again when it ends: meanwhile the API and the worker wait for it."""
        while True:
            await asyncio.sleep(POSTGRES_CHECK_SECONDS)
            if await asyncio.to_thread(postgres.ensure_running):
                self._on_line("evalqueue", "Postgres had ended. It was started again.")

    async def _stop_all(self) -> None:
        for name in ("worker", "API", "simulated provider", "simulated chatbot"):
            if child := self._children.get(name):
                await child.stop(self._hurry)
        if self._postgres is not None:
            await asyncio.to_thread(self._postgres.stop)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        else:
            self._on_line(
                "evalqueue",
                "Stopping: running jobs may finish. Press Ctrl-C again to stop without waiting.",
            )
        self._stop.set()

    @contextlib.contextmanager
    def _signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._on_signal)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
