"""Shares per caller: what one holds of connections, streams and uploads keeps no other out."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.http.conftest import ENTRIES, PATIENCE, TOKENS

from evalqueue.postgres import store
from evalqueue.postgres.database import Database
from evalqueue.postgres.store import Submission

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPLOAD = (
    b"POST /api/datasets HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n"
)
CSV = "thread_id,input,response\nt,q,a\n"


@asynccontextmanager
async def line(
    http: httpx.AsyncClient, sent: bytes, *, address: str = "127.0.0.1"
) -> AsyncGenerator[asyncio.StreamReader]:
    """A connection from an address, on which this was sent."""
    reader, writer = await asyncio.open_connection(
        http.base_url.host, http.base_url.port, local_addr=(address, 0)
    )
    try:
        writer.write(sent)
        await writer.drain()
        yield reader
    finally:
        writer.close()


async def status_of(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(PATIENCE):
        return int((await reader.readuntil(b"\r\n\r\n")).split()[1])


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost:",
        UPLOAD % b"none",
        b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["idle", "half a head", "half a body", "streams"],
)
async def test_connections_of_one_address_keep_no_other_out(serve_api: ServeApi, sent: bytes):
    async with serve_api(max_connections=10) as http, AsyncExitStack() as held:
        ones = [
            await held.enter_async_context(line(http, sent, address="127.0.0.2")) for _ in range(30)
        ]
        for _ in range(3):
            async with line(http, GET, address="127.0.0.3") as reader:
                assert await status_of(reader) == 200
        assert len([each for each in ones if not each.at_eof()]) >= 1


@pytest.mark.parametrize("limits", ["-Sn 400", "-Sn 400; ulimit -Hn 400"], ids=["soft", "hard"])
async def test_so_do_they_where_a_process_may_open_few_files(
    database: Database, tmp_path: Path, limits: str
):
    environment = os.environ | {"DATABASE_URL": database.conninfo, "EVALQUEUE_HOME": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", f'ulimit {limits}; exec "$@"', "sh",
        sys.executable, "-m", "evalqueue", "serve", "--port=0",
        env=environment | {"EVALQUEUE_MAX_CONNECTIONS": "900"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    idle: list[socket.socket] = []
    try:
        async with asyncio.timeout(PATIENCE):
            url = (await process.stdout.readline()).decode().split()[-1]
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            at = (http.base_url.host, http.base_url.port)
            idle.extend(  # as fast as the system lets them
                socket.create_connection(at, source_address=("127.0.0.2", 0)) for _ in range(1000)
            )
            for _ in range(3):
                async with line(http, GET, address="127.0.0.3") as reader:
                    assert await status_of(reader) == 200
    finally:
        for each in idle:
            each.close()
        process.terminate()
        _, errors = await process.communicate()
    assert b"out of system resource" not in errors


async def stream(held: AsyncExitStack, http: httpx.AsyncClient, name: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {TOKENS[name]}"}
    return await held.enter_async_context(http.stream("GET", "/api/events", headers=headers))


async def test_streams_of_one_caller_make_room_for_those_of_another(serve_api: ServeApi):
    async with (
        serve_api(max_watchers=4, api_tokens=ENTRIES) as http,
        AsyncExitStack() as held,
    ):
        first = [await stream(held, http, "sam") for _ in range(4)]
        assert [each.status_code for each in first] == [200] * 4
        assert (await stream(held, http, "sam")).status_code == 503
        other = [await stream(held, http, "ada") for _ in range(2)]
        assert [each.status_code for each in other] == [200] * 2
        assert (await stream(held, http, "ada")).status_code == 503
        async with asyncio.timeout(PATIENCE):
            for each in first[:2]:  # the oldest ones end
                async for _ in each.aiter_bytes():
                    pass


async def test_slow_uploads_of_one_caller_are_bounded_and_delay_no_other(serve_api: ServeApi):
    async with serve_api(api_tokens=ENTRIES) as http, AsyncExitStack() as held:
        slow = UPLOAD % TOKENS["sam"].encode()
        for _ in range(4):
            await held.enter_async_context(line(http, slow))
        async with asyncio.timeout(PATIENCE):
            while True:
                refused = await upload(http, "sam")
                if refused.status_code == 429:
                    break
        assert "4 of your uploads" in refused.json()["detail"]
        assert refused.headers["retry-after"] == "5"
        assert (await upload(http, "ada")).status_code == 201
        await held.aclose()
        async with asyncio.timeout(PATIENCE):
            while (await upload(http, "sam")).status_code == 429:
                await asyncio.sleep(0.05)


async def test_uploads_of_one_caller_hold_so_much_of_the_disk_together(serve_api: ServeApi):
    megabyte = 1024**2
    async with (
        serve_api(api_tokens=ENTRIES, max_dataset_bytes=megabyte) as http,
        AsyncExitStack() as held,
    ):
        head = UPLOAD.replace(b"1000", b"4500000") % TOKENS["sam"].encode()
        form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        slow = [
            await held.enter_async_context(line(http, head + form + b"x" * 4 * megabyte))
            for _ in range(3)
        ]
        statuses = asyncio.as_completed([status_of(each) for each in slow])
        assert await next(statuses) == 429
        for each in statuses:
            each.close()


async def test_files_of_one_owner_are_read_one_at_a_time_beside_those_of_another(dsn: str):
    """Reading a large one takes minutes, and only few are read at once."""
    over = asyncio.Event()

    async def read() -> None:
        async with database.long_transaction(owner="sam"):
            await over.wait()

    database = Database(dsn)
    await database.open()
    try:
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as reading:
            for _ in range(4):
                reading.create_task(read())
            await asyncio.sleep(0)
            async with database.long_transaction(owner="ada"):
                over.set()
    finally:
        await database.close()


async def test_a_list_of_jobs_with_large_params_and_results_is_small(
    api: httpx.AsyncClient, database: Database
):
    params = {"name": "n" * 300, "thread_ids": ["t" * 50] * 4000, "notes": "x" * 30_000, "n": 7}
    for _ in range(8):
        async with database.connection() as connection:
            await store.submit(connection, Submission(job_type="note", params=params))
    listed = await api.get("/api/jobs")

    assert len(listed.content) < 20_000
    for job in listed.json():
        assert job["params"] == {"name": "n" * 200 + "…", "notes": "x" * 200 + "…", "n": 7}
        whole = (await api.get(f"/api/jobs/{job['id']}")).json()
        assert whole["params"] == params


async def upload(http: httpx.AsyncClient, name: str) -> httpx.Response:
    return await http.post(
        "/api/datasets",
        files={"file": ("a.csv", CSV)},
        headers={"Authorization": f"Bearer {TOKENS[name]}"},
    )
