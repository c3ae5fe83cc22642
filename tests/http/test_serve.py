"""`serve` inside a program: its address, its refusals, and its end."""

import asyncio
import logging
import signal
import socket

import httpx
import pytest
from tests.http.conftest import ENTRIES, PATIENCE

from evalqueue import Client, JobParams, Settings
from evalqueue.errors import CannotListen
from evalqueue.http.server import serve
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Database


@pytest.fixture
def client(database: Database) -> Client:
    return Client(database=database, settings=Settings(port=0))


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "evals.example"])  # noqa: S104  refused
async def test_without_a_token_only_this_machine_is_served(client: Client, host: str) -> None:
    with pytest.raises(CannotListen, match="EVALQUEUE_API_TOKENS"):
        async with serve(client, host=host):
            pass


async def test_with_a_token_other_machines_are_served(database: Database) -> None:
    settings = Settings(port=0, api_tokens=ENTRIES)
    async with serve(Client(database=database, settings=settings), host="0.0.0.0") as address:  # noqa: S104  meant
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            reply = await http.get(f"http://127.0.0.1:{address.port}/healthz")
        assert reply.status_code == 200


def has_ipv6_loopback() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no IPv6 on loopback")
async def test_ipv6_has_brackets_in_its_url(client: Client) -> None:
    async with (
        serve(client, host="::1") as address,
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http,
    ):
        assert address.url == f"http://[::1]:{address.port}"
        assert (await http.get(f"{address.url}/api/jobs")).status_code == 200


async def test_a_port_in_use_is_reported_with_what_to_do(client: Client) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"{port}.*EVALQUEUE_PORT"):
            async with serve(client, port=port):
                pass


async def test_nothing_is_printed_or_logged_for_a_request_that_went_well(
    client: Client, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="uvicorn.access"):
        async with (
            serve(client) as address,
            httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http,
        ):
            await http.get(f"{address.url}/healthz")

    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name == "uvicorn.access"] == []


async def test_signals_are_left_to_the_program_around(client: Client) -> None:
    before = signal.getsignal(signal.SIGTERM)

    async with (
        serve(client) as address,
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http,
    ):
        await http.get(f"{address.url}/healthz")
        assert signal.getsignal(signal.SIGTERM) is before


async def test_a_request_under_way_is_answered_before_serving_ends(database: Database) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    class Slow(JobParams, job_type="slow"):
        async def admit(self, admission: AdmissionContext) -> "Slow":
            entered.set()
            await leave.wait()
            return self

    client = Client(database=database, job_types=[Slow], settings=Settings(port=0))
    async with (
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http,
        asyncio.TaskGroup() as tasks,
    ):
        async with serve(client) as address:
            asking = tasks.create_task(
                http.post(f"{address.url}/api/jobs", json={"job_type": "slow"})
            )
            await entered.wait()
            tasks.create_task(_set_soon(leave))
        assert asking.done()
    assert asking.result().status_code == 201
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(address.host, address.port)


async def _set_soon(event: asyncio.Event) -> None:
    # After several iterations of the event loop the server is shutting down.
    for _ in range(100):
        await asyncio.sleep(0)
    event.set()


async def test_an_error_in_the_program_around_ends_serving(client: Client) -> None:
    port = 0
    with pytest.raises(ExceptionGroup) as raised:
        async with serve(client) as address:
            port = address.port
            raise LookupError("theirs")

    assert raised.group_contains(LookupError, match="theirs")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_the_client_is_left_open(client: Client, database: Database) -> None:
    async with serve(client):
        pass

    assert await client.list() == []
