"""A demo with a real judge asks it once, before it starts anything."""

import os
import shutil
import signal
import socket
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from homes import temporary_home
from tests.cli.conftest import Shell

from evalqueue.evaluators.simulated.vendor.server import SimulatedServer
from evalqueue.evaluators.simulated.vendor.simulation import BAD_KEY


@pytest.fixture
def home(shell: Shell) -> Generator[Path]:
    home = temporary_home("evalqueue-cli-")
    shell.environment = {
        **shell.environment, "EVALQUEUE_HOME": str(home), "EVALQUEUE_PORT": "0",
        "OPENAI_API_KEY": "sk-something",
    }  # fmt: skip
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def vendor() -> AsyncGenerator[SimulatedServer]:
    async with SimulatedServer() as vendor:
        yield vendor


@pytest.mark.parametrize(
    ("key", "model", "said"),
    [
        (BAD_KEY, "gpt-4o-mini", "401"),
        ("sk-something", "always-server-error", "500"),
        ("sk-something", "always-model-missing", "404"),
    ],
)
async def test_a_judge_that_can_t_be_used_is_refused_after_one_call(
    key: str, model: str, said: str, shell: Shell, home: Path, vendor: SimulatedServer
) -> None:
    refused = await shell.run(
        "demo", OPENAI_BASE_URL=f"{vendor.url}/v1", OPENAI_API_KEY=key, EVALQUEUE_LLM_MODEL=model
    )

    assert refused.exit_code == 2
    assert "The judge can't be asked" in refused.err
    assert said in refused.err
    assert "EVALQUEUE_LLM_PROVIDER=simulated" in refused.err
    assert "Traceback" not in refused.err
    assert vendor.simulation.stats["requests"] == 1
    assert not (home / "demo/pgdata").exists()


async def test_without_a_network_nothing_is_waited_for(shell: Shell, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    refused = await shell.run("demo", OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1")

    assert refused.exit_code == 2
    assert "no connection" in refused.err
    assert not (home / "demo/pgdata").exists()


@pytest.mark.parametrize("model", ["gpt-4o-mini", "always-rate-limited"])
async def test_a_judge_that_answers_or_has_a_limit_is_asked_by_the_job(
    model: str, shell: Shell, home: Path, vendor: SimulatedServer
) -> None:
    demo = await shell.start("demo", OPENAI_BASE_URL=f"{vendor.url}/v1", EVALQUEUE_LLM_MODEL=model)
    await demo.until("running")
    await vendor.simulation.until(lambda stats: stats["requests"] > 1)
    os.killpg(demo.process.pid, signal.SIGINT)
    assert (await demo.end()).exit_code == 130
