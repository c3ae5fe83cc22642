"""For the tests of those who build on this: a simulated provider, and a worker that runs dry.

    async with SimulatedServer(Behaviour(latency_ms=50)) as judge:
        ...  # EVALQUEUE_LLM_PROVIDER=simulated EVALQUEUE_SIMULATED_URL={judge.url}

    await run_jobs(dsn, handlers)  # returns when the queue is empty

Both are the real thing: SDKs talk HTTP to the simulated provider, jobs run through Postgres.
"""

from evalqueue.evaluators.simulated.vendor.server import Behaviour, SimulatedServer
from evalqueue.handlers import Handlers
from evalqueue.settings import Settings
from evalqueue.worker.app import ProcrastinateApp

__all__ = ["Behaviour", "SimulatedServer", "run_jobs"]


async def run_jobs(dsn: str, handlers: Handlers, *, concurrency: int = 4) -> None:
    """Run every job that is due, and return when there is none left.

    Raises:
        SchemaOutdated: the database has to be migrated first.
    """
    app = ProcrastinateApp(address=lambda: dsn, handlers=lambda: handlers, settings=Settings())
    async with app.open_async():
        await app.run_worker_async(
            wait=False, concurrency=concurrency, install_signal_handlers=False
        )
