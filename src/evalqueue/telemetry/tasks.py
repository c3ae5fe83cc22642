"""Tasks that run beside others, none of which ends with an error that nobody sees.

asyncio reports such an error when the task is collected, which may be never, and with its text,
which may quote a conversation. It reports none of a shielded task whose caller was cancelled.
"""

import asyncio
import contextvars
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from evalqueue.telemetry.logs import LoggedError

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def start(
    work: Coroutine[Any, Any, Result], *, name: str, context: contextvars.Context | None = None
) -> asyncio.Task[Result]:
    """Start work beside the caller. An error that ends it is logged at once."""
    task = asyncio.create_task(work, name=name, context=context)
    task.add_done_callback(_log_error)
    return task


async def uninterrupted(work: Coroutine[Any, Any, Result], *, name: str) -> Result:
    """Do work to its end, also if the caller is cancelled meanwhile, who then learns of no error:
    it is logged."""
    task = asyncio.create_task(work, name=name)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_log_error)
        await asyncio.wait({task})
        raise


def _log_error(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("The task %r failed", task.get_name(), exc_info=LoggedError.of(error))
