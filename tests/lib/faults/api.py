"""The API in a process of its own."""

import asyncio
import os
import re
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from forking import Program

TIMEOUT = 60.0  # seconds


@asynccontextmanager
async def api(
    address: str, folder: Path, *, pids: list[int] | None = None, **environment: str
) -> AsyncGenerator[httpx.AsyncClient]:
    """`evalqueue serve` on the database at this address, and a client of it. Its process id is
    added to `pids`."""
    settings = {
        "DATABASE_URL": address,
        "EVALQUEUE_IMPORTS": "faults.work",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    program = Program.start(
        ["serve", "--port=0"], environment=os.environ | settings | environment, folder=folder
    )
    assert program.process.pid is not None
    if pids is not None:
        pids.append(program.process.pid)
    reading: threading.Thread | None = None
    try:
        url = await asyncio.to_thread(_url, program)
        reading = threading.Thread(target=program.stdout.read, daemon=True)  # its pipe never fills
        reading.start()
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=TIMEOUT) as client:
            yield client
    finally:
        program.process.kill()
        program.wait()
        if reading is not None:
            reading.join()
        program.stdout.close()


def _url(program: Program) -> str:
    said: list[str] = []
    for line in program.stdout:
        said.append(line)
        if found := re.search(r"API on (http://\S+)", line):
            return found[1]
    raise AssertionError("".join(said))
