"""asyncio logs no errors of interrupted handlers."""

import asyncio
import gc
from typing import Any

from faults.deployment import Deployment
from faults.work import Steps

from evalqueue import Handlers, JobContext, Settings
from evalqueue.worker.app import ProcrastinateApp


async def test_asyncio_does_not_complain_of_what_an_interrupted_handler_raises(
    deployment: Deployment,
):
    complaints: list[str] = []
    begun = asyncio.Event()
    handlers = Handlers()

    @handlers.handles(Steps)
    async def raises_on_its_way_out(_context: JobContext, _params: Steps) -> dict[str, Any]:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("on its way out") from None
        return {}

    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: complaints.append(context["message"])
    )
    app = ProcrastinateApp(
        address=lambda: deployment.address, handlers=lambda: handlers, settings=Settings()
    )
    async with app.open_async():
        worker = app.worker(install_signal_handlers=False)
        running = asyncio.create_task(worker.run())
        job = await deployment.submit(Steps())
        await begun.wait()
        await deployment.cancel(job)
        worker.stop()
        await running
    gc.collect()

    assert complaints == []
    await deployment.assert_sound()
