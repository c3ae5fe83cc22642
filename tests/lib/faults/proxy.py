"""A TCP proxy on loopback in front of Postgres. It can delay bytes, hold them back, reset
connections, and stop a connection at a statement.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from enum import Enum, auto

from faults.steps import Moment, Trap
from faults.wire import Frame, Wire

CHUNK = 65536  # bytes
LOOK_INTERVAL = 0.02  # seconds
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER


class NetworkState(Enum):
    """What happens to all connections through a proxy."""

    NORMAL = auto()
    CUT = auto()
    """All connections are reset, and new ones are, too."""
    SILENT = auto()
    """No bytes pass, without an error. They are held until the state changes."""


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: "Proxy", client: "End", server: "End") -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._wire = Wire()
        self._open = asyncio.Event()
        self._withheld: Trap | None = None
        self.stranded = False
        self.listens = False
        self.set_passing(True)

    async def run(self) -> None:
        """Forward both directions until either side ends."""
        directions = {asyncio.create_task(self._up()), asyncio.create_task(self._down())}
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.wait(directions)
            self.reset()

    def reset(self) -> None:
        self._client.reset()
        self._server.reset()

    def set_passing(self, passes: bool) -> None:
        """Let bytes pass, or hold them."""
        if passes and not self.stranded:
            self._open.set()
        else:
            self._open.clear()

    def strand(self) -> None:
        """Let no byte pass any more: half-open, as after a router dropped its entry."""
        self.stranded = True
        self.set_passing(False)

    async def _up(self) -> None:
        while chunk := await self._client.read():
            await self._delay()
            for frame in self._wire.from_client(chunk):
                await self._forward(frame)

    async def _down(self) -> None:
        while chunk := await self._server.read():
            await self._delay()
            for frame in self._wire.from_server(chunk):
                if self._withheld is not None and frame.kind == b"Z":
                    trap, self._withheld = self._withheld, None
                    await self._wait_at(trap)
                self._client.write(frame.data, withhold=self._withheld is not None)

    async def _forward(self, frame: Frame) -> None:
        text = self._wire.statement(frame)
        if text is not None:
            self.listens = self.listens or text.startswith("LISTEN ")
            for trap in self._proxy.traps:
                if not trap.catches(text):
                    continue
                if trap.moment is Moment.BEFORE:
                    await self._wait_at(trap)
                else:
                    self._withheld = trap
        self._server.write(frame.data)

    async def _wait_at(self, trap: Trap) -> None:
        await trap.hold()
        await self._open.wait()

    async def _delay(self) -> None:
        await asyncio.sleep(self._proxy.delay_seconds)
        await self._open.wait()


class End:
    """One side of a link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._withheld = bytearray()

    async def read(self) -> bytes:
        """The next bytes; none at the end of the connection, also after an error."""
        try:
            return await self._reader.read(CHUNK)
        except OSError:
            return b""

    def write(self, data: bytes, *, withhold: bool = False) -> None:
        """Send these bytes after those withheld so far; or withhold these, too."""
        self._withheld += data
        if not withhold and not self._writer.is_closing():
            self._writer.write(bytes(self._withheld))
            self._withheld.clear()

    def reset(self) -> None:
        connection = self._writer.get_extra_info("socket")
        if connection is not None and connection.fileno() >= 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()


class Proxy:
    """Forwards connections to a port of Postgres."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._state = NetworkState.NORMAL
        self.links: set[Link] = set()
        self.traps: list[Trap] = []
        self.delay_seconds = 0.0
        self.refused = 0
        """How many connections were refused while the network was cut."""

    @property
    def port(self) -> int:
        assert self._listener is not None
        return self._listener.sockets[0].getsockname()[1]

    @property
    def state(self) -> NetworkState:
        return self._state

    @state.setter
    def state(self, state: NetworkState) -> None:
        self._state = state
        for link in tuple(self.links):
            link.set_passing(state is not NetworkState.SILENT)
        if state is NetworkState.CUT:
            self.reset_all()

    def trap(self, statement: str, moment: Moment, *, nth: int = 1) -> Trap:
        """Set a trap for the nth statement that matches."""
        trap = Trap(statement=statement, moment=moment, nth=nth)
        self.traps.append(trap)
        return trap

    def reset_all(self) -> None:
        """Reset every open connection; new ones are accepted."""
        for link in tuple(self.links):
            link.reset()

    async def until(self, which: Callable[[Link], bool]) -> None:
        """Wait until a connection satisfies a predicate."""
        while not any(which(link) for link in self.links):
            await asyncio.sleep(LOOK_INTERVAL)

    def strand(self, which: Callable[[Link], bool]) -> int:
        """Make the connections that satisfy a predicate half-open; returns how many."""
        stranded = [link for link in self.links if which(link)]
        for link in stranded:
            link.strand()
        return len(stranded)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator["Proxy"]:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._listener.close()
            self.reset_all()
            for task in tuple(self._tasks):
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = End(reader, writer)
        if self._state is NetworkState.CUT:
            self.refused += 1
            client.reset()
            return
        task = asyncio.create_task(self._serve(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: client.reset())  # also if the task never started

    async def _serve(self, client: End) -> None:
        try:
            streams = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:  # Postgres is stopped
            return
        link = Link(self, client, End(*streams))
        link.set_passing(self._state is not NetworkState.SILENT)
        self.links.add(link)
        try:
            await link.run()
        finally:
            self.links.discard(link)
