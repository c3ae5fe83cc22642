"""Servers on loopback that do to a connection what a test says, and targets that lead there."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Self

import pytest

from evalqueue.evaluators.chatbots.targets import ChatbotSettings, Target, check
from evalqueue.evaluators.chatbots.transport import StreamLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    gone: asyncio.Event
    """Who asked has closed the connection."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Behave = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Server:
    """Reads one request per connection, then behaves."""

    behave: Behave
    host: str = "127.0.0.1"
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Some client has closed its connection."""
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._stack.callback(server.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._stack.aclose()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                asked = await _read(reader)
                self.asked.append(asked)
                async with asyncio.TaskGroup() as group:
                    watch = group.create_task(self._watch(reader, asked))
                    with contextlib.suppress(ConnectionError):
                        await self.behave(asked, writer)
                        await writer.drain()
                    watch.cancel()
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _watch(self, reader: asyncio.StreamReader, asked: Asked) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        asked.gone.set()
        self.gone.set()


async def _read(reader: asyncio.StreamReader) -> Asked:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    method, path, _ = first.split(" ")
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method=method, path=path, headers=headers, body=body, gone=asyncio.Event())


Serve = Callable[..., Awaitable[Server]]
Aim = Callable[..., Target]


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    """What is pushed here is closed after the test."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server that is stopped after the test."""
    async with AsyncExitStack() as stack:

        async def start(behave: Behave | bytes, **options: Any) -> Server:
            async def send(_asked: Asked, writer: asyncio.StreamWriter) -> None:
                assert isinstance(behave, bytes)
                writer.write(behave)

            chosen = send if isinstance(behave, bytes) else behave
            return await stack.enter_async_context(Server(behave=chosen, **options))

        yield start


@pytest.fixture
def aim() -> Aim:
    """A target that leads to a server of the test's."""

    def to(url: str, **changes: Any) -> Target:
        target = check(url, ChatbotSettings(hosts="localhost"), protocol="any")
        return replace(target, **changes)

    return to


@pytest.fixture
async def open_line() -> AsyncIterator[Callable[..., StreamLine]]:
    """Make a line that is closed after the test."""
    async with AsyncExitStack() as stack:

        def open_(*arguments: Any, **options: Any) -> StreamLine:
            line = StreamLine(*arguments, **options)
            stack.push_async_callback(line.aclose)
            return line

        yield open_


def answer(body: Any, status: str = "200 OK", headers: str = "") -> bytes:
    """An HTTP response with a JSON body."""
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(text)}\r\n\r\n"
    return head.encode() + text


@pytest.fixture
def as_json() -> Callable[..., bytes]:
    return answer
