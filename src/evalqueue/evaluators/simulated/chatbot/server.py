"""A simulated Kaira: a server on loopback that speaks as the real one does, v1 and v2.

A server and not a patch, so that tests and the demo go through real connections. What it says is
the business of `simulation.bot`; here is what happens on the way: sessions, faults, counting. The
same bot also answers as an OpenAI-compatible endpoint and as a plain webhook. Whatever it sends is
marked: sessions and responses are named `simulated-…`.

The token `bad-token` is refused. With `obey_markers`, a message that contains a fault's name in
double brackets, as in `[[hang]]`, meets that fault.

`python -m evalqueue.evaluators.simulated.chatbot.server --port 8723` runs it by itself.
"""

import argparse
import asyncio
import contextlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from zoneinfo import ZoneInfo

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from evalqueue.evaluators.simulated.chatbot.bot import SimulatedDialogue, Weakness
from evalqueue.evaluators.simulated.chatbot.faults import SendStep, SimulatedFault, steps
from evalqueue.evaluators.simulated.chatbot.sessions import (
    Sessions,
    SimulatedTurn,
    UnknownSessionError,
)
from evalqueue.evaluators.simulated.chatbot.wire import (
    AnswerIds,
    ChatbotProtocol,
    ChatbotRequest,
    KairaV1Protocol,
    KairaV2Wire,
    OpenAIChatbotProtocol,
    WebhookWire,
)
from evalqueue.evaluators.simulated.loopback import Loopback
from evalqueue.evaluators.simulated.vendor.answers import draws

BAD_TOKEN = "bad-token"  # noqa: S105  the one that is refused
TIMEZONE = ZoneInfo("Asia/Kolkata")
_MARKER = re.compile(r"\[\[(\w+)\]\]")


def _now() -> datetime:
    return datetime.now(TIMEZONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatbotBehaviour:
    """How the simulated Kaira behaves."""

    weaknesses: frozenset[Weakness] = frozenset()
    faults: Mapping[SimulatedFault, float] = field(default_factory=dict[SimulatedFault, float])
    """The share of turns that meet each, from 0 to 1; together 1 at most."""
    seed: int = 0
    """The same seed: the same faults in the same turns of a user."""
    obey_markers: bool = False
    latency_ms: float = 0.0
    """Before an answer begins."""
    pause_ms: float = 100.0
    """Between the pieces of an answer that comes slowly or never ends."""
    tokens: frozenset[str] | None = None
    """Those accepted; None: any but `bad-token`."""
    now: Callable[[], datetime] = _now
    """What time the bot thinks it is."""

    def fault(self, text: str, draw: float) -> SimulatedFault | None:
        """The fault that a message meets; `draw` is a number in [0, 1)."""
        marker = _MARKER.search(text) if self.obey_markers else None
        if marker is not None and marker[1] in set(SimulatedFault):
            return SimulatedFault(marker[1])
        for fault, rate in self.faults.items():
            if draw < rate:
                return fault
            draw -= rate
        return None

    def accepts(self, token: str) -> bool:
        return token in self.tokens if self.tokens is not None else token not in {"", BAD_TOKEN}


class SimulatedKaira:
    """The server, running inside `async with`; one `uvicorn` on 127.0.0.1."""

    def __init__(self, behaviour: ChatbotBehaviour | None = None, *, port: int = 0) -> None:
        """`port` 0: a free one, known once the server runs."""
        self._simulation = ChatbotSimulation(behaviour or ChatbotBehaviour(), hang_up=self._hang_up)
        self._server = Loopback(self._simulation.app, port=port)

    @property
    def url(self) -> str:
        """Base address, without a protocol's path (`/v1` for OpenAI's clients)."""
        return self._server.url

    @property
    def stats(self) -> dict[str, object]:
        """What was counted since the start; JSON."""
        return self._simulation.stats

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.outage()

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until a condition holds for the stats."""
        await self._simulation.until(condition)

    async def outage(self) -> None:
        """Cut every connection and refuse new ones, until `restore`."""
        await self._server.stop(at_once=True)

    async def restore(self) -> None:
        """Serve again, on the same port, with the sessions that there were."""
        await self._server.start()

    def run(self) -> None:
        """Serve in the foreground until interrupted."""
        self._server.run("simulated Kaira")

    def _hang_up(self, caller: tuple[str, int]) -> None:
        self._server.hang_up(caller)


class ChatbotSimulation:
    """The app, its users and what it counts."""

    def __init__(
        self, behaviour: ChatbotBehaviour, *, hang_up: Callable[[tuple[str, int]], None]
    ) -> None:
        """`hang_up` cuts a caller's connection."""
        v2 = KairaV2Wire(shows_cards=Weakness.OMITS_CHIPS not in behaviour.weaknesses)
        self.app = Starlette(
            routes=[
                Route("/chat/stream", _Door(self, KairaV1Protocol()), methods=["POST"]),
                Route("/api/chat", _Door(self, v2), methods=["POST"]),
                Route("/api/upload-image", self._upload, methods=["POST"]),
                Route(
                    "/v1/chat/completions", _Door(self, OpenAIChatbotProtocol()), methods=["POST"]
                ),
                Route("/webhook", _Door(self, WebhookWire()), methods=["POST"]),
                Route("/webhook/{session}", self._close, methods=["DELETE"]),
                Route("/stats", self._stats),
            ]
        )
        self._behaviour = behaviour
        self._hang_up = hang_up
        self._sessions = Sessions(
            lambda: SimulatedDialogue(behaviour.weaknesses, now=behaviour.now)
        )
        self._images: set[str] = set()
        self._uploads = 0
        self._requests = 0
        self._open_streams = 0
        self._aborted = 0
        self._by_status: Counter[int] = Counter()
        self._changed = asyncio.Event()

    @property
    def stats(self) -> dict[str, object]:
        """What was counted since the start; JSON."""
        return {
            "requests": self._requests,
            "open_streams": self._open_streams,
            "aborted": self._aborted,
            "by_status": {str(status): count for status, count in self._by_status.items()},
            **self._sessions.stats,
        }

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until a condition holds for the stats."""
        while not condition(self.stats):
            self._changed.clear()
            await self._changed.wait()

    async def converse(self, wire: ChatbotProtocol, request: Request, send: Send) -> None:
        """Answer a request of one of the protocols."""
        self._requests += 1
        self._open_streams += 1
        self._changed.set()
        try:
            refusal = await self._answer(wire, request, send)
            if refusal is not None:
                self._count(refusal.status_code)
                await refusal(request.scope, request.receive, send)
        except ClientDisconnect:
            self._aborted += 1
        finally:
            self._open_streams -= 1
            self._changed.set()

    async def _answer(self, wire: ChatbotProtocol, request: Request, send: Send) -> Response | None:
        """Answer, or return what refuses to."""
        body = await request.body()
        if not self._behaviour.accepts(_token(request)):
            return _refusal(401, "the token is not valid")
        try:
            ask = wire.read(body)
            self._use_image(ask)
            with self._sessions.turn(ask) as turn:
                fault = self._fault(ask, turn)
                if fault is not None and fault.status is not None:
                    return _refusal(fault.status, "something went wrong, on purpose")
                await self._tell(request, send, wire, self._steps(wire, ask, turn, fault))
        except ValidationError as error:
            return _refusal(422, f"not a request that the simulated Kaira knows: {error}")
        except UnknownSessionError:
            return _refusal(404, "there is no such session")
        except _UnknownImageError:
            return _refusal(422, "there is no such image, or it was used before")
        return None

    def _fault(self, ask: ChatbotRequest, turn: SimulatedTurn) -> SimulatedFault | None:
        (draw,) = draws(self._behaviour.seed, ask.user_id, turn.number)
        return self._behaviour.fault(ask.text, draw)

    def _steps(
        self,
        wire: ChatbotProtocol,
        ask: ChatbotRequest,
        turn: SimulatedTurn,
        fault: SimulatedFault | None,
    ) -> Iterator[SendStep]:
        place = AnswerIds(
            session=turn.session,
            response_id=f"simulated-{ask.user_id}-{turn.number}",
            is_new=turn.is_new,
            sees_image=ask.image_id is not None,
        )
        answer = turn.dialogue.answer(ask.text)
        pause_seconds = self._behaviour.pause_ms / 1000
        return steps(fault, wire, answer, place, pause_seconds=pause_seconds)

    async def _tell(
        self, request: Request, send: Send, wire: ChatbotProtocol, steps: Iterator[SendStep]
    ) -> None:
        """Send an answer step by step.

        Raises:
            ClientDisconnect: the client has disconnected.
        """
        await _wait(request, self._behaviour.latency_ms / 1000)
        begun = False
        for step in steps:
            await _wait(request, step.after_seconds)
            if not begun:
                begun = True
                self._count(200)
                await send(_start(wire.media_type))
            if step.data is None:
                await self._cut(request)
                return
            await send({"type": "http.response.body", "body": step.data, "more_body": True})
        if await request.is_disconnected():
            raise ClientDisconnect
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _count(self, status: int) -> None:
        self._by_status[status] += 1
        self._changed.set()

    async def _cut(self, request: Request) -> None:
        if request.client is not None:
            self._hang_up((request.client.host, request.client.port))
        await _disconnected(request)

    def _use_image(self, ask: ChatbotRequest) -> None:
        if ask.image_id is None:
            return
        if ask.image_id not in self._images:
            raise _UnknownImageError
        self._images.discard(ask.image_id)

    async def _upload(self, request: Request) -> Response:
        body = await request.body()
        kind = request.headers.get("content-type", "")
        if not self._behaviour.accepts(_token(request)):
            return _refusal(401, "the token is not valid")
        if not kind.startswith("multipart/form-data") or b'name="file"' not in body:
            return _refusal(422, "a multipart field named file is needed")
        self._uploads += 1
        image_id = f"simulated-image-{self._uploads}"
        self._images.add(image_id)
        return JSONResponse({"image_id": image_id})

    async def _close(self, request: Request) -> Response:
        if not self._behaviour.accepts(_token(request)):
            return _refusal(401, "the token is not valid")
        closed = self._sessions.close(request.path_params["session"])
        self._changed.set()
        return Response(status_code=204) if closed else _refusal(404, "there is no such session")

    async def _stats(self, _request: Request) -> Response:
        return JSONResponse(self.stats)


class _UnknownImageError(Exception):
    """Every image can be used once."""


class _Door:
    """The endpoint of one protocol."""

    def __init__(self, simulation: ChatbotSimulation, wire: ChatbotProtocol) -> None:
        self._simulation = simulation
        self._wire = wire

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._simulation.converse(self._wire, Request(scope, receive), send)


def _token(request: Request) -> str:
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    return request.headers.get("token", bearer)


def _refusal(status: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status_code=status)


def _start(media_type: str) -> Message:
    headers = [(b"content-type", media_type.encode())]
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def _wait(request: Request, seconds: float) -> None:
    """Wait, as long as the client is connected.

    Raises:
        ClientDisconnect: the client has disconnected.
    """
    if seconds == 0:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(None if math.isinf(seconds) else seconds):
            await _disconnected(request)
        raise ClientDisconnect


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _rate(text: str) -> tuple[SimulatedFault, float]:
    """`hang` or `hang=0.1`."""
    name, _, share = text.partition("=")
    try:
        return SimulatedFault(name), float(share or 1)
    except ValueError as error:
        names = ", ".join(SimulatedFault)
        said = f"{text!r} is neither NAME nor NAME=SHARE with a NAME of: {names}"
        raise argparse.ArgumentTypeError(said) from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the server in the foreground until it is interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m evalqueue.evaluators.simulated.chatbot.server",
        description="A simulated Kaira.",
    )
    add = parser.add_argument
    add("--port", type=int, default=8723, help="0: a free one (default 8723)")
    add("--weakness", choices=[*map(str, Weakness)], action="append", default=[], metavar="NAME",
        help=f"what the bot does wrong; may be repeated: {', '.join(Weakness)}")  # fmt: skip
    add("--fault", type=_rate, action="append", default=[], metavar="NAME[=SHARE]",
        help=f"what goes wrong in a share of the turns: {', '.join(SimulatedFault)}")  # fmt: skip
    add("--seed", type=int, default=0)
    add("--latency-ms", type=float, default=0.0)
    add("--obey-markers", action="store_true", help="[[NAME]] in a message forces that fault")
    options = parser.parse_args(arguments)
    behaviour = ChatbotBehaviour(
        weaknesses=frozenset(map(Weakness, options.weakness)),
        faults=dict(options.fault),
        seed=options.seed,
        latency_ms=options.latency_ms,
        obey_markers=options.obey_markers,
    )
    SimulatedKaira(behaviour, port=options.port).run()


if __name__ == "__main__":
    main()
