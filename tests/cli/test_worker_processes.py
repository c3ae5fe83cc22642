"""`evalqueue worker --processes N`: one command, several workers, real processes and signals."""

import asyncio
import os
import re
import signal

import pytest
from scraping import free_ports, scrape, value
from tests.cli.conftest import Gate, Running, Shell

from evalqueue import Client, JobStatus
from evalqueue.cli.stack.worker_processes import available_cores

READY = re.compile(r"two@\S+:(\d+)/\d+ is ready")
PATIENCE_SECONDS = 60.0


async def ready(worker: Running, count: int) -> list[int]:
    """Wait until so many processes are ready. Returns the pids of all so far."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(pids := [int(pid) for pid in READY.findall(worker.output["err"])]) < count:
            assert worker.process.stderr is not None
            line = await worker.process.stderr.readline()
            assert line, worker.output
            worker.output["err"] += line.decode()
    return pids


async def two(shell: Shell, *flags: str) -> Running:
    return await shell.start(
        "worker", "--processes=2", "--name=two", "--concurrency=1", *flags
    )  # fmt: skip


async def test_each_process_is_a_worker_and_sigterm_lets_their_jobs_finish(
    shell: Shell, gate: Gate, dsn: str
):
    worker = await two(shell)
    pids = await ready(worker, 2)
    shown = await shell.run("workers", "--json")
    for label in "ab":
        await shell.run("submit", "hold", f"gate={gate.path}", f"label={label}")
    held = [await gate.arrived(), await gate.arrived()]  # one job in each process
    worker.send(signal.SIGTERM)
    for _ in pids:
        await worker.until("Stopping: waiting for 1 running job(s)")
    for connection in held:
        connection.close()
    ended = await worker.end()

    assert len(set(pids)) == 2
    assert worker.process.pid not in pids
    assert {each["pid"] for each in shown.json} == set(pids)
    assert ended.exit_code == 0
    async with Client(dsn) as client:
        jobs = await client.list()
    assert {job.status for job in jobs} == {JobStatus.COMPLETED}
    assert {job.attempt for job in jobs} == {1}


async def test_a_killed_process_is_started_again(shell: Shell):
    worker = await two(shell)
    first, second = await ready(worker, 2)
    os.kill(first, signal.SIGKILL)
    third = (await ready(worker, 3))[-1]
    worker.send(signal.SIGTERM)
    ended = await worker.end()

    assert third not in {first, second}
    assert "ended with exit code 137: started again" in ended.err
    assert ended.exit_code == 0


async def test_a_second_signal_sends_running_jobs_back(shell: Shell, gate: Gate, dsn: str):
    worker = await two(shell)
    await ready(worker, 2)
    await shell.run("submit", "hold", f"gate={gate.path}")
    await gate.arrived()
    worker.send(signal.SIGINT)
    await worker.until("Stopping: waiting for 1 running job(s)")
    worker.send(signal.SIGINT)
    ended = await worker.end()

    assert ended.exit_code == 0
    async with Client(dsn) as client:
        (job,) = await client.list()
    assert (job.status, job.failed_attempts) == (JobStatus.QUEUED, 0)


async def test_the_worst_exit_code_is_the_one_of_all(shell: Shell, gate: Gate):
    worker = await two(shell)
    await ready(worker, 2)
    await shell.run("submit", "hold", f"gate={gate.path}")
    await gate.arrived()
    worker.send(signal.SIGTERM)
    await worker.until("Stopping: waiting for 1 running job(s)")
    for pid in await ready(worker, 2):
        # The one without a job may have ended; it then counts as 0.
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    ended = await worker.end()

    assert ended.exit_code == 137


async def test_the_children_of_a_killed_parent_stop(shell: Shell):
    worker = await two(shell)
    pids = await ready(worker, 2)
    worker.send(signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while [pid for pid in pids if os.path.exists(f"/proc/{pid}")]:
            await asyncio.sleep(0.05)
    assert (await worker.end()).exit_code == -signal.SIGKILL


async def test_one_shot_ends_when_nothing_is_left_for_any_process(shell: Shell):
    for reason in "abcd":
        await shell.run("submit", "fail", f"reason={reason}")
    ended = await (await two(shell, "--one-shot")).end()
    jobs = await shell.run("status", "--json")

    assert ended.exit_code == 0
    assert [job["status"] for job in jobs.json] == ["failed"] * 4


async def test_what_keeps_all_of_them_from_working_is_said_once(shell: Shell, empty_dsn: str):
    refused = await shell.start("worker", "--processes=2", DATABASE_URL=empty_dsn)
    ended = await refused.end()

    assert ended.exit_code == 6
    assert ended.err.count("evalqueue migrate") == 1


def test_one_process_per_core_is_the_default():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("count", ["0", "-1", "many"])
async def test_a_wrong_number_of_processes_is_refused(shell: Shell, count: str):
    refused = await shell.run("worker", "--processes", count)

    assert refused.exit_code == 2


async def test_each_process_serves_metrics_on_a_port_of_its_own_which_it_keeps(shell: Shell):
    ports = free_ports(2)
    worker = await two(shell, f"--metrics-port={ports[0]}")
    pids = await ready(worker, 2)
    urls = [f"http://127.0.0.1:{port}/metrics" for port in ports]
    before = [await scrape(url) for url in urls]
    os.kill(pids[0], signal.SIGKILL)
    await ready(worker, 3)
    after = [await scrape(url) for url in urls]
    worker.send(signal.SIGTERM)
    ended = await worker.end()

    assert all(value(each, "evalqueue_running_attempts") == 0 for each in [*before, *after])
    assert ended.exit_code == 0


async def test_a_setting_gives_the_first_port_and_0_free_ones(shell: Shell):
    worker = await shell.start("worker", "--processes=2", "--name=two", EVALQUEUE_METRICS_PORT="0")
    await ready(worker, 2)
    urls = re.findall(r"Metrics on (http://127\.0\.0\.1:\d+/metrics)", worker.output["err"])
    scrapes = [await scrape(url) for url in urls]
    worker.send(signal.SIGTERM)
    await worker.end()

    assert len(set(urls)) == len(scrapes) == 2


async def test_without_a_port_no_metrics_are_served(shell: Shell):
    worker = await two(shell)
    await ready(worker, 2)
    worker.send(signal.SIGTERM)
    ended = await worker.end()
    assert "Metrics on" not in ended.err
