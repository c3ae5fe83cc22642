"""The client for programs without an event loop."""

import inspect
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from uuid import uuid4

import pytest

from evalqueue import Client, JobNotFound, JobParams, JobStatus, KeyReused, SyncClient


class Greet(JobParams, job_type="greet"):
    name: str


@pytest.fixture
def client(dsn: str) -> Generator[SyncClient]:
    with SyncClient(dsn, job_types=[Greet]) as client:
        yield client


def test_a_job_from_its_submission_to_its_end(client: SyncClient) -> None:
    job = client.submit(Greet(name="Asha"), owner="orders", priority=3)
    assert client.get(job.id, owner="orders") == job
    assert client.list(owner="orders", status=JobStatus.QUEUED) == [job]
    assert client.attempts(job.id) == []
    with pytest.raises(TimeoutError):
        client.wait(job.id, timeout=0.1)
    client.cancel(job.id)
    assert client.wait(job.id).status is JobStatus.CANCELLED
    assert client.retry(job.id).params == {"name": "Asha"}


def test_many_jobs_and_params_from_outside(client: SyncClient) -> None:
    greetings = [Greet(name="Asha"), Greet(name="Ben")]
    jobs = client.submit_many(greetings, idempotency_keys=["order-1", "order-2"])
    again = client.submit_params("greet", {"name": "Ben"}, idempotency_key="order-2")
    assert again.id == jobs[1].id
    with pytest.raises(KeyReused):
        client.submit(Greet(name="Chen"), idempotency_key="order-2")
    with pytest.raises(JobNotFound):
        client.get(uuid4())


def test_each_change_of_a_job_is_seen(client: SyncClient) -> None:
    job = client.submit(Greet(name="Asha"))
    seen = list[JobStatus]()
    for change in client.watch(job.id):
        seen.append(change.status)
        if change.status is JobStatus.QUEUED:
            client.cancel(job.id)
    assert seen == [JobStatus.QUEUED, JobStatus.CANCELLED]


def test_threads_share_it(client: SyncClient) -> None:
    with ThreadPoolExecutor(8) as threads:
        jobs = list(threads.map(lambda number: client.submit(Greet(name=f"{number}")), range(100)))
    assert [job.params["name"] for job in jobs] == [f"{number}" for number in range(100)]


def test_it_is_opened_by_its_first_call_and_leaves_no_thread(dsn: str) -> None:
    before = set(threading.enumerate())
    client = SyncClient(dsn)
    assert set(threading.enumerate()) == before
    client.submit(Greet(name="Asha"))
    assert set(threading.enumerate()) > before
    client.close()
    client.close()
    assert set(threading.enumerate()) == before
    with pytest.raises(RuntimeError, match="closed"):
        client.submit(Greet(name="Ben"))


def test_closing_ends_what_other_threads_wait_for(dsn: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        with SyncClient(dsn) as client:
            job = client.submit(Greet(name="Asha"))
            waiting = threads.submit(client.wait, job.id, timeout=60)
            time.sleep(1)  # until it waits
        with pytest.raises(CancelledError):
            waiting.result(timeout=10)


PROGRAM = """
import os
from evalqueue import JobParams, SyncClient
client = SyncClient()
print(len(client.list()), flush=True)  # what is held would be written by the child, too
if os.fork() == 0:
    try:
        client.list()
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


def test_a_program_ends_without_closing_it_and_a_fork_is_refused(dsn: str) -> None:
    environment = {**os.environ, "DATABASE_URL": dsn}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1].startswith("This client was made before a fork")


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, method in vars(Client).items()
        if not name.startswith("_")
        and inspect.isfunction(method)
        and name not in {"aclose", "database", "listener"}
    ],
)
def test_a_method_takes_what_the_client_takes(name: str) -> None:
    expected = dict(inspect.signature(getattr(Client, name)).parameters)
    expected.pop("connection", None)
    assert dict(inspect.signature(getattr(SyncClient, name)).parameters) == expected
