"""The TypeScript client: its tests run in Node, on the modules that the page loads.

Those of `real.test.mjs` call a real `evalqueue serve`, with a real worker behind it.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.http.conftest import entry

from evalqueue.testing import Behaviour, SimulatedServer
from evalqueue.tokens import Right

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
OLDEST = (20, 6)  # the oldest version that can run the tests
TOKEN = "the-token-of-anna"


def nodes() -> dict[str, str]:
    """The Node of the environment, and the system's if it is another supported version."""
    found: dict[str, str] = {}
    elsewhere = os.pathsep.join(
        folder for folder in os.get_exec_path() if Path(folder).resolve() != BIN.resolve()
    )
    for path in (shutil.which("node", path=str(BIN)), shutil.which("node", path=elsewhere)):
        if path is None:
            continue
        version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        major, minor, _ = version.stdout.strip().removeprefix("v").split(".", 2)
        if (int(major), int(minor)) >= OLDEST:
            found.setdefault(major, path)
    return found


NODES = nodes()


def run_tests(node: str, name: str, **environment: str) -> None:
    done = subprocess.run(
        [node, "--test", "--test-reporter=spec", str(HERE / name)],
        capture_output=True, text=True, timeout=500, check=False, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_node() -> None:
    assert NODES, "./run exec and ./run test bring one"


@pytest.mark.parametrize("major", NODES)
@pytest.mark.parametrize("name", ["sse.test.mjs", "requests.test.mjs", "watching.test.mjs"])
def test_the_client_by_itself(name: str, major: str) -> None:
    run_tests(NODES[major], name)


@pytest.fixture
async def environment(dsn: str, tmp_path: Path) -> AsyncGenerator[dict[str, str]]:
    """Start a worker; yields the environment variables for servers."""
    async with SimulatedServer(Behaviour(latency_ms=60, latency_sigma=0)) as judge:
        environment = {
            "DATABASE_URL": dsn,
            "EVALQUEUE_LLM_PROVIDER": "simulated",
            "EVALQUEUE_SIMULATED_URL": judge.url,
            "TOKEN": TOKEN,
            "TOKEN_ENTRY": entry("anna", Right.SUBMIT, TOKEN),
            "EVALQUEUE_COMMAND": json.dumps([str(BIN / "evalqueue")]),
        }
        with (tmp_path / "worker.log").open("wb") as log:
            worker = await asyncio.create_subprocess_exec(
                BIN / "evalqueue",
                "worker",
                "--processes=1",
                stdout=log,
                stderr=log,
                env=os.environ | environment,
            )
        try:
            yield environment
        finally:
            worker.kill()
            await worker.wait()


async def test_the_client_and_the_real_thing(environment: dict[str, str]) -> None:
    ours = next(iter(NODES.values()))
    await asyncio.to_thread(run_tests, ours, "real.test.mjs", **environment)
