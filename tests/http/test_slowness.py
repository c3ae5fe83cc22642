"""Clients that send too slowly are cut off, and slow requests that make progress are not."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import Message
from tests.http.conftest import PATIENCE

from evalqueue.http.connections import MAX_HEAD_BYTES, DeadlineProtocol
from evalqueue.http.guards import body_limits

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
PAUSE = 0.5  # seconds
HEAD = b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the timeout of bodies."""
    monkeypatch.setattr(
        body_limits.BodyDeadline.__init__, "__kwdefaults__", {"window_seconds": PAUSE}
    )


@pytest.fixture
def hurry_heads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that shortens the timeout of heads and of the rest of refused bodies. A test calls
    it after its own head has arrived."""
    return lambda: monkeypatch.setattr(DeadlineProtocol, "head_seconds", PAUSE)


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
    """Send some bytes again and again until the connection is closed."""
    while not writer.is_closing():
        writer.write(text)
        await writer.drain()
        await asyncio.sleep(PAUSE / 10)


async def all_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bytes:
    """The bytes received until the connection ends, while `text` is sent again and again."""
    sending = asyncio.create_task(trickle(writer, text))
    received = b""
    try:
        async with asyncio.timeout(PATIENCE):
            while more := await reader.read(65_536):
                received += more
    except ConnectionResetError:
        pass  # the response to bytes sent after the end
    finally:
        sending.cancel()
        await asyncio.wait({sending})
        if not sending.cancelled():
            sending.exception()  # a reset is a valid end, too
    return received


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
        async with asyncio.timeout(PATIENCE):
            assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def status_of_a_body(
    *, pieces: int, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> int:
    """The status of the reply to a body whose pieces arrive after 0.7 of the timeout each.

    The event loop's clock is patched, so a busy machine does not look like a slow body.
    """
    loop, patience, gone_by = asyncio.get_running_loop(), 1000.0, 0.0
    time_of, left = loop.time, pieces

    async def receive() -> Message:
        nonlocal gone_by, left
        gone_by += 0.7 * patience
        await asyncio.sleep(0)  # deadlines that have passed fire here
        await asyncio.sleep(0)
        left -= 1
        return {"type": "http.request", "body": b" " * piece_bytes, "more_body": left > 0}

    async def length(request: Request) -> JSONResponse:
        return JSONResponse(len(await request.body()))

    async def send(message: Message) -> None:
        statuses.append(message.get("status", 0))

    statuses: list[int] = []
    app = Starlette(
        routes=[Route("/", length, methods=["POST"])],
        middleware=[Middleware(body_limits.BodyDeadline, window_seconds=patience)],
    )
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    with monkeypatch.context() as clock:
        clock.setattr(loop, "time", lambda: time_of() + gone_by)
        await app(scope, receive, send)
    return statuses[0]


async def test_a_long_body_that_keeps_coming_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for piece_bytes, status in (
        (body_limits.MIN_WINDOW_BYTES, 200),
        (body_limits.MIN_WINDOW_BYTES // 2 - 1, 408),
    ):
        assert status == await status_of_a_body(
            pieces=8, piece_bytes=piece_bytes, monkeypatch=monkeypatch
        )


async def test_a_body_may_take_longer_than_a_head(
    serve_api: ServeApi, hurry_heads: Callable[[], None]
) -> None:
    async def slowly() -> AsyncGenerator[bytes]:
        yield b'{"job_type": "note"'
        await asyncio.sleep(3 * PAUSE)
        yield b"}"

    async with serve_api() as http:
        assert (await http.get("/healthz")).status_code == 200  # on the same connection
        hurry_heads()
        headers = {"Content-Type": "application/json"}
        reply = await http.post("/api/jobs", content=slowly(), headers=headers)

    assert reply.status_code == 201


@pytest.mark.parametrize(
    "begin",
    [b"", b"GET /healthz HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"],
)
async def test_a_head_that_trickles_is_cut(
    serve_api: ServeApi, hurry_heads: Callable[[], None], begin: bytes
) -> None:
    hurry_heads()
    async with serve_api() as http, line(http) as (reader, writer):
        writer.write(begin)
        reply = await all_of(reader, writer, b"GET" if begin.endswith(b"\r\n\r\n") else b"x")

        assert reply.count(b"HTTP/1.1 200") == begin.endswith(b"\r\n\r\n")


async def test_a_connection_on_which_nothing_comes_is_cut(
    serve_api: ServeApi, hurry_heads: Callable[[], None]
) -> None:
    hurry_heads()
    async with serve_api() as http, line(http) as (reader, _):
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""


@pytest.mark.usefixtures("hurried")
async def test_what_is_left_of_a_refused_body_is_not_waited_for(
    serve_api: ServeApi, hurry_heads: Callable[[], None]
) -> None:
    hurry_heads()
    async with serve_api(max_body_bytes=1024) as http, line(http) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n")
        reply = await all_of(reader, writer, b" ")

        assert reply.startswith(b"HTTP/1.1 413 ")


@pytest.mark.usefixtures("hurried")
async def test_a_connection_goes_on_between_requests(
    serve_api: ServeApi, hurry_heads: Callable[[], None]
) -> None:
    async with serve_api() as http, line(http) as (reader, writer), asyncio.timeout(PATIENCE):
        for _ in range(3):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
            hurry_heads()
            await asyncio.sleep(1.5 * PAUSE)


async def test_a_head_is_only_so_large(serve_api: ServeApi) -> None:
    async with serve_api() as http:
        fits = await http.get("/healthz", headers={"X-Large": "x" * (MAX_HEAD_BYTES // 2)})
        assert fits.status_code == 200
        async with line(http) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nX-Large: " + b"x" * (MAX_HEAD_BYTES * 3 // 2))
            async with asyncio.timeout(PATIENCE):
                assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


async def test_a_streamed_response_has_no_deadline() -> None:
    async def stream(_request: Request) -> StreamingResponse:
        async def events() -> AsyncGenerator[str]:
            for number in range(4):
                yield f"data: {number}\n\n"
                await asyncio.sleep(PAUSE / 2)

        return StreamingResponse(events(), media_type="text/event-stream")

    app = body_limits.BodyDeadline(Starlette(routes=[Route("/", stream)]), window_seconds=PAUSE)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost"
    ) as http:
        assert (await http.get("/")).text.count("data: ") == 4


async def test_only_waiting_for_the_body_counts() -> None:
    async def slow_to_read(request: Request) -> JSONResponse:
        await asyncio.sleep(2 * PAUSE)
        return JSONResponse(len(await request.body()))

    app = body_limits.BodyDeadline(
        Starlette(routes=[Route("/", slow_to_read, methods=["POST"])]), window_seconds=PAUSE
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
        async with asyncio.timeout(PATIENCE):
            while (await http.get("/healthz")).status_code != 200:
                await asyncio.sleep(0)


async def _ask(http: httpx.AsyncClient) -> tuple[int, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1]), writer
