"""Job types that do nothing, wait or compute, for the benchmarks' worker processes."""

import asyncio
import time
from typing import Any

from evalqueue import register_job_handler


@register_job_handler("noop")
async def noop(_job_id: Any, _params: dict[str, Any]) -> dict[str, Any]:
    return {}


@register_job_handler("wait")
async def wait(_job_id: Any, _params: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(3600)
    return {}


@register_job_handler("compute")
async def compute(_job_id: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Uses so many milliseconds of CPU."""
    ends = time.thread_time() + params["milliseconds"] / 1000
    while time.thread_time() < ends:
        pass
    return {}
