"""`up` and `demo` with real processes and signals."""

import asyncio
import os
import re
import shutil
import signal
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from homes import temporary_home
from scraping import free_ports, scrape, value
from tests.cli.conftest import Gate, Running, Shell


@pytest.fixture
def home() -> Generator[Path]:
    """A home directory that the user of an embedded Postgres may enter."""
    home = temporary_home("evalqueue-cli-")
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def stack_shell(shell: Shell, home: Path) -> Shell:
    """A shell whose stacks live in `home` and take any free port."""
    shell.environment = {
        **shell.environment, "EVALQUEUE_HOME": str(home), "EVALQUEUE_PORT": "0",
    }  # fmt: skip
    return shell


@pytest.fixture
async def up(stack_shell: Shell) -> Running:
    """A complete stack on the test's database."""
    running = await stack_shell.start("up")
    await running.until("Ctrl-C stops all of it", "out")
    return running


async def test_demo_evaluates_the_bundled_conversations_and_leaves_nothing_running(
    stack_shell: Shell, home: Path
) -> None:
    """The port of the settings is taken, so another one is used."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await stack_shell.run("demo", EVALQUEUE_PORT=str(port))

    assert ended.exit_code == 0, ended.err
    assert f"Port {port} is taken" in ended.err
    assert "48/48 100%" in ended.err
    assert "48 of 48 conversations evaluated" in ended.out
    assert "Judge: simulated" in ended.out
    assert re.search(r"CRITICAL +█+ \d", ended.out)
    assert not (home / "demo/pgdata/postmaster.pid").exists()
    assert sorted(path.name for path in home.iterdir()) == ["demo"]
    assert {path.stem for path in (home / "demo/logs").iterdir()} >= {"api", "worker"}


async def test_up_serves_metrics_of_its_api_and_its_worker(stack_shell: Shell) -> None:
    (port,) = free_ports(1)
    running = await stack_shell.start("up", f"--metrics-port={port}")
    output = await running.until("Ctrl-C stops all of it", "out")
    worker = await scrape(f"http://127.0.0.1:{port}/metrics")
    api = await scrape(_found(r"API +(http://\S+)/api", output) + "/metrics")
    running.send(signal.SIGINT)
    await running.end()

    assert value(worker, "evalqueue_is_leader") == 1
    assert value(api, "evalqueue_workers") == 1


async def test_up_takes_a_job_over_http_and_ctrl_c_stops_it_in_order(
    stack_shell: Shell, up: Running, home: Path, dsn: str
) -> None:
    output = await up.until("submit  ", "out")
    api = _found(r"API +(http://\S+)/api", output)
    async with httpx.AsyncClient(base_url=api, trust_env=False, timeout=60) as http:
        submitted = await http.post(
            "/api/jobs",
            json={"job_type": "evaluate-batch", "params": {"data_path": "test.csv"}},
        )
    assert submitted.status_code == 201, submitted.text
    watched = await stack_shell.run("watch", submitted.json()["id"])
    os.killpg(up.process.pid, signal.SIGINT)  # as a terminal sends it
    ended = await up.end()

    assert watched.exit_code == 0
    assert ended.exit_code == 0
    assert "simulated: no key set" in ended.out
    assert "Traceback" not in ended.err
    assert sorted(path.name for path in (home / "data").iterdir()) == [
        "kaira-conversations.csv", "test.csv",
    ]  # fmt: skip
    async with httpx.AsyncClient(base_url=api, trust_env=False, timeout=60) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("/healthz")


async def test_a_job_that_runs_may_finish_after_ctrl_c(
    stack_shell: Shell, up: Running, gate: Gate
) -> None:
    """A terminal's Ctrl-C reaches only the parent: a second signal would skip the grace period."""
    submitted = await stack_shell.run("submit", "hold", f"gate={gate.path}")
    held = await gate.arrived()
    os.killpg(up.process.pid, signal.SIGINT)
    await up.until("Stopping: waiting for 1 running job(s)")
    held.close()
    ended = await up.end()
    shown = await stack_shell.run("status", submitted.out.strip(), "--json")

    assert ended.exit_code == 0
    assert shown.json["status"] == "completed"


async def test_a_second_ctrl_c_sends_running_jobs_back_to_the_queue(
    stack_shell: Shell, up: Running, gate: Gate
) -> None:
    submitted = await stack_shell.run("submit", "hold", f"gate={gate.path}")
    await gate.arrived()
    up.send(signal.SIGINT)
    await up.until("Stopping: waiting for 1 running job(s)")
    up.send(signal.SIGINT)
    ended = await up.end()
    shown = await stack_shell.run("status", submitted.out.strip(), "--json")

    assert ended.exit_code == 0
    assert (shown.json["status"], shown.json["failed_attempts"]) == ("queued", 0)


async def test_up_starts_a_killed_worker_again(up: Running) -> None:
    output = await up.until(" is ready: ")
    os.kill(int(_found(r"worker@\S+:(\d+)/\d+ is ready", output)), signal.SIGKILL)
    up.output["err"] = ""

    output = await up.until(" is ready: ")

    assert "The worker ended unexpectedly (signal 9). Restarting it in" in output


async def test_up_starts_a_killed_api_again_at_its_address(up: Running) -> None:
    address = _found(r"API +(http://\S+)/api", await up.until("submit  ", "out"))
    await up.until(f"API on {address}")
    (api,) = [child for child in _children(up) if "serve" in child.cmdline()]
    up.output["err"] = ""

    api.kill()
    ended = await up.until("Restarting it in")
    up.output["err"] = ""
    await up.until(f"API on {address}")

    assert "The API ended unexpectedly (signal 9). Restarting it in" in ended
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=60) as http:
        assert (await http.get("/healthz")).status_code == 200


async def test_up_starts_its_killed_postgres_again_and_jobs_go_on(
    stack_shell: Shell, home: Path
) -> None:
    up = await stack_shell.start("up", DATABASE_URL="")
    api = _found(r"API +(http://\S+)/api", await up.until("Ctrl-C stops all of it", "out"))
    async with httpx.AsyncClient(base_url=api, trust_env=False, timeout=60) as http:
        params = {"data_path": "kaira-conversations.csv", "concurrency": 4}
        submission = {"job_type": "evaluate-batch", "params": params}
        job_id = (await http.post("/api/jobs", json=submission)).json()["id"]
        while (await http.get(f"/api/jobs/{job_id}")).json()["progress"]["current"] < 2:
            await asyncio.sleep(0.05)

        os.kill(int((home / "pgdata/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        await up.until("Postgres had ended. It was started again.")
        async with asyncio.timeout(100):
            while not (job := await _job(http, job_id)) or job["status"] == "running":
                await asyncio.sleep(0.2)
    up.send(signal.SIGINT)
    await up.end()

    assert (job["status"], job["attempt"], job["failed_attempts"]) == ("completed", 1, 0)
    assert job["progress"]["current"] == 48
    assert not (home / "pgdata/postmaster.pid").exists()


async def test_the_children_of_a_killed_parent_stop_by_themselves(up: Running) -> None:
    children = [(child.pid, os.pidfd_open(child.pid)) for child in _children(up)]
    assert len(children) == 3

    up.send(signal.SIGKILL)

    for _pid, descriptor in children:
        await asyncio.wait_for(_exit_of(descriptor), 100)


async def test_a_job_of_a_killed_parent_may_finish_before_its_worker_stops(
    stack_shell: Shell, up: Running, gate: Gate
) -> None:
    submitted = await stack_shell.run("submit", "hold", f"gate={gate.path}")
    held = await gate.arrived()
    descriptors = [os.pidfd_open(child.pid) for child in _children(up)]

    up.send(signal.SIGKILL)
    held.close()
    for descriptor in descriptors:
        await asyncio.wait_for(_exit_of(descriptor), 100)

    shown = await stack_shell.run("status", submitted.out.strip(), "--json")
    assert shown.json["status"] == "completed"


async def test_up_starts_whatever_the_log_level_and_says_who_chose_the_simulated_provider(
    stack_shell: Shell,
) -> None:
    up = await stack_shell.start(
        "up", EVALQUEUE_LOG_LEVEL="ERROR", EVALQUEUE_LLM_PROVIDER="simulated"
    )
    async with asyncio.timeout(100):
        await up.until("Ctrl-C stops all of it", "out")
    up.send(signal.SIGINT)
    ended = await up.end()

    assert "simulated: EVALQUEUE_LLM_PROVIDER says so; answers are gold labels" in ended.out
    assert "Stopping: waiting for" not in ended.err, "INFO of the worker"


async def test_up_on_a_taken_port_names_the_port_and_the_setting(stack_shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = await stack_shell.run("up", "--port", str(port))

    assert refused.exit_code == 1
    assert f"Port {port} of 127.0.0.1 is taken" in refused.err
    assert "EVALQUEUE_PORT" in refused.err


async def test_serve_says_where_it_listens_and_stops_on_sigterm(stack_shell: Shell) -> None:
    serving = await stack_shell.start("serve")
    api = _found(r"API on (\S+)", await serving.until("API on", "out"))
    async with httpx.AsyncClient(base_url=api, trust_env=False, timeout=60) as http:
        healthy = await http.get("/healthz")
        refused = await http.post("/api/jobs", json={"job_type": "dance", "params": {}})
    serving.send(signal.SIGTERM)
    ended = await serving.end()

    assert healthy.status_code == 200
    assert "hold" in refused.text, "job types of EVALQUEUE_IMPORTS are known"
    assert ended.exit_code == 0


async def test_serve_asks_for_the_tokens_of_the_environment(stack_shell: Shell) -> None:
    made = (await stack_shell.run("token", "anna", "--right", "submit", "--json")).json
    serving = await stack_shell.start("serve", EVALQUEUE_API_TOKENS=made["entry"])
    api = _found(r"API on (\S+)", await serving.until("API on", "out"))
    async with httpx.AsyncClient(base_url=api, trust_env=False, timeout=60) as http:
        for token, status in ((made["token"], 200), ("a-guess", 401)):
            reply = await http.get("/api/jobs", headers={"Authorization": f"Bearer {token}"})
            assert reply.status_code == status
    serving.send(signal.SIGTERM)
    ended = await serving.end()

    assert ended.exit_code == 0
    for secret in (made["token"], made["entry"], made["entry"][-64:], "a-guess"):
        assert secret not in ended.out + ended.err


async def test_the_simulated_vendor_answers_and_stops_on_sigterm(stack_shell: Shell) -> None:
    simulating = await stack_shell.start("simulate", "--port", "0")
    url = _found(r"provider on (\S+)", await simulating.until("provider on", "out"))
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
        stats = await http.get("/stats")
    simulating.send(signal.SIGTERM)
    await simulating.end()

    assert stats.json()["requests"] == 0


async def test_a_demo_that_is_interrupted_ends_as_interrupted(
    stack_shell: Shell, home: Path
) -> None:
    demo = await stack_shell.start("demo")
    await demo.until("running")
    os.killpg(demo.process.pid, signal.SIGINT)
    ended = await demo.end()

    assert ended.exit_code == 130
    assert "Traceback" not in ended.err
    assert not (home / "demo/pgdata/postmaster.pid").exists()


async def test_a_demo_that_is_refused_says_why_and_where_its_logs_are(
    stack_shell: Shell, home: Path
) -> None:
    refused = await stack_shell.run("demo", EVALQUEUE_LLM_PROVIDER="oracle")

    assert refused.exit_code == 2
    assert "params.llm_provider: There is no provider 'oracle'" in refused.err
    assert str(home / "demo/logs/worker.log") in refused.err
    assert "Traceback" not in refused.err


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]


async def _job(http: httpx.AsyncClient, job_id: str) -> Any:
    """A job, or None while the database is away."""
    response = await http.get(f"/api/jobs/{job_id}")
    return response.json() if response.status_code == 200 else None


def _children(running: Running) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(running.process.pid).children()
        if child.cmdline()[1:4] == ["-P", "-m", "evalqueue"]
    ]


async def _exit_of(descriptor: int) -> None:
    """Wait for the end of a process that is not our child."""
    exited = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, exited.set)
    await exited.wait()
    loop.remove_reader(descriptor)
    os.close(descriptor)
