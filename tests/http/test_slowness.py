"""Whoever keeps us waiting is cut off, and whoever only takes long is not."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from evalqueue.http import limits
from evalqueue.http.connections import MAX_HEAD_BYTES, PromptProtocol

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
PAUSE = 0.5  # seconds
HEAD = b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has less patience than in earnest."""
    monkeypatch.setattr(limits.SteadyBody.__init__, "__kwdefaults__", {"pause_seconds": PAUSE})
    monkeypatch.setattr(PromptProtocol, "head_seconds", PAUSE)


@asynccontextmanager
async def line(
    http: httpx.AsyncClient,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def trickle(writer: asyncio.StreamWriter, text: bytes) -> None:
    """A byte now and then, for as long as somebody listens."""
    while not writer.is_closing():
        writer.write(text)
        await writer.drain()
        await asyncio.sleep(PAUSE / 10)


async def all_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bytes:
    """What is said until the connection ends, while `text` is sent again and again."""
    sending = asyncio.create_task(trickle(writer, text))
    said = b""
    try:
        async with asyncio.timeout(20 * PAUSE):
            while more := await reader.read(65_536):
                said += more
    except ConnectionResetError:
        pass  # what was sent after the end is answered so
    finally:
        sending.cancel()
        await asyncio.wait({sending})
        if not sending.cancelled():
            sending.exception()  # a reset is as good an end
    return said


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "frame", [b"Content-Length: 5000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]
)
async def test_a_body_that_trickles_is_cut(serve_api: ServeApi, frame: bytes) -> None:
    async with serve_api() as http, line(http) as (reader, writer):
        writer.write(HEAD + frame)
        drop = b"1\r\n \r\n" if b"chunked" in frame else b" "
        reply = await all_of(reader, writer, drop)

        assert reply.startswith(b"HTTP/1.1 408 ")
        assert b'{"detail":"The body came too slowly.' in reply
        assert b"connection: close" in reply.lower()


@pytest.mark.usefixtures("hurried")
async def test_a_body_that_stops_coming_is_cut(serve_api: ServeApi) -> None:
    async with serve_api() as http, line(http) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 9\r\n\r\n{")
        async with asyncio.timeout(20 * PAUSE):
            assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("hurried")
async def test_a_long_body_that_keeps_coming_is_taken(serve_api: ServeApi) -> None:
    async def slowly() -> AsyncGenerator[bytes]:
        yield b'{"job_type": "note"'
        for _ in range(8):
            yield b" " * limits.MIN_BYTES
            await asyncio.sleep(PAUSE / 2)
        yield b"}"

    async with serve_api() as http:
        headers = {"Content-Type": "application/json"}
        began = time.monotonic()
        reply = await http.post("/api/jobs", content=slowly(), headers=headers)

    assert reply.status_code == 201
    assert time.monotonic() - began > 3 * PAUSE


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "begin",
    [b"", b"GET /healthz HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"],
)
async def test_a_head_that_trickles_is_cut(serve_api: ServeApi, begin: bytes) -> None:
    async with serve_api() as http, line(http) as (reader, writer):
        began = time.monotonic()
        writer.write(begin)
        reply = await all_of(reader, writer, b"GET" if begin.endswith(b"\r\n\r\n") else b"x")

        assert time.monotonic() - began < 10 * PAUSE
        assert reply.count(b"HTTP/1.1 200") == begin.endswith(b"\r\n\r\n")


@pytest.mark.usefixtures("hurried")
async def test_a_connection_on_which_nothing_comes_is_cut(serve_api: ServeApi) -> None:
    async with serve_api() as http, line(http) as (reader, _):
        async with asyncio.timeout(10 * PAUSE):
            assert await reader.read() == b""


@pytest.mark.usefixtures("hurried")
async def test_what_is_left_of_a_refused_body_is_not_waited_for(serve_api: ServeApi) -> None:
    async with serve_api(max_body_bytes=1024) as http, line(http) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n")
        reply = await all_of(reader, writer, b" ")

        assert reply.startswith(b"HTTP/1.1 413 ")


@pytest.mark.usefixtures("hurried")
async def test_a_connection_goes_on_between_requests(serve_api: ServeApi) -> None:
    async with serve_api() as http:
        for _ in range(3):
            assert (await http.get("/healthz")).status_code == 200
            await asyncio.sleep(1.5 * PAUSE)


async def test_a_head_is_only_so_large(serve_api: ServeApi) -> None:
    async with serve_api() as http:
        fits = await http.get("/healthz", headers={"X-Large": "x" * (MAX_HEAD_BYTES // 2)})
        assert fits.status_code == 200
        async with line(http) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nX-Large: " + b"x" * (MAX_HEAD_BYTES * 3 // 2))
            async with asyncio.timeout(10):
                assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


async def test_an_answer_that_streams_takes_as_long_as_it_takes() -> None:
    async def stream(_request: Request) -> StreamingResponse:
        async def events() -> AsyncGenerator[str]:
            for number in range(4):
                yield f"data: {number}\n\n"
                await asyncio.sleep(PAUSE / 2)

        return StreamingResponse(events(), media_type="text/event-stream")

    app = limits.SteadyBody(Starlette(routes=[Route("/", stream)]), pause_seconds=PAUSE)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost"
    ) as http:
        assert (await http.get("/")).text.count("data: ") == 4


async def test_only_waiting_for_the_body_counts() -> None:
    async def slow_to_read(request: Request) -> JSONResponse:
        await asyncio.sleep(2 * PAUSE)
        return JSONResponse(len(await request.body()))

    app = limits.SteadyBody(
        Starlette(routes=[Route("/", slow_to_read, methods=["POST"])]), pause_seconds=PAUSE
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost"
    ) as http:
        assert (await http.post("/", content=b"x" * 10)).json() == 10


async def test_more_connections_than_allowed_are_refused_and_fewer_are_not(
    serve_api: ServeApi,
) -> None:
    async with serve_api(max_connections=5) as http:
        async with asyncio.TaskGroup() as tasks:
            opening = [tasks.create_task(_ask(http)) for _ in range(5)]
        answers = [each.result() for each in opening]
        assert {status for status, _ in answers} == {200}
        status, one_more = await _ask(http)
        assert status == 503
        for each in (one_more, *(writer for _, writer in answers)):
            each.close()
            await each.wait_closed()
        async with asyncio.timeout(10):
            while (await http.get("/healthz")).status_code != 200:
                await asyncio.sleep(0)


async def _ask(http: httpx.AsyncClient) -> tuple[int, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1]), writer
