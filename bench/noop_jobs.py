"""Job types that do nothing, and one that waits, for the benchmarks' worker processes."""

import asyncio
from typing import Any

from evalqueue import register_job_handler


@register_job_handler("noop")
async def noop(_job_id: Any, _params: dict[str, Any]) -> dict[str, Any]:
    return {}


@register_job_handler("wait")
async def wait(_job_id: Any, _params: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(3600)
    return {}
