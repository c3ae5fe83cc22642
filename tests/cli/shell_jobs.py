"""Job types for the tests of the command line: the processes import them by EVALQUEUE_IMPORTS.

`hold` connects to a socket of the test, so the test knows that it runs, and goes on once the test
closes the connection. No test has to sleep.
"""

import asyncio
from typing import Any

from pydantic import Field

from evalqueue import JobContext, JobFailed, JobParams
from evalqueue.handlers import registered


class Hold(JobParams, job_type="hold"):
    """Runs until the test closes its connection."""

    gate: str
    label: str = "a"
    total: int = Field(2, ge=1)


class Fail(JobParams, job_type="fail"):
    """Raises `JobFailed`."""

    reason: str


@registered.handles(Hold)
async def hold(context: JobContext, params: Hold) -> dict[str, Any]:
    context.progress(1, params.total, "Thread 1 is \x1b[31mheld")
    reader, writer = await asyncio.open_unix_connection(params.gate)
    try:
        await reader.read()
    finally:
        writer.close()
    context.progress(params.total, params.total, "let \x1b[31mgo")
    return {"label": params.label}


@registered.handles(Fail)
async def fail(context: JobContext, params: Fail) -> None:
    raise JobFailed(params.reason)
