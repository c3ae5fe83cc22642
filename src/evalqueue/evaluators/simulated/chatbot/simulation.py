"""The ASGI app of the simulated Kaira: endpoints, sessions, faults and counters.

`bot` decides what the bot answers, and `protocols` how an answer is written.
"""

import asyncio
import contextlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from evalqueue.evaluators.simulated.chatbot.bot import SimulatedDialogue, Weakness
from evalqueue.evaluators.simulated.chatbot.faults import SendStep, SimulatedFault, steps
from evalqueue.evaluators.simulated.chatbot.protocols import (
    AnswerIds,
    ChatbotProtocol,
    ChatbotRequest,
    KairaV1Protocol,
    KairaV2Protocol,
    OpenAIChatbotProtocol,
    WebhookProtocol,
)
from evalqueue.evaluators.simulated.chatbot.sessions import (
    ChatbotSessions,
    SessionStats,
    SimulatedTurn,
    UnknownSessionError,
)
from evalqueue.evaluators.simulated.draws import draws

BAD_TOKEN = "bad-token"  # noqa: S105  no secret: the server refuses it
TIMEZONE = ZoneInfo("Asia/Kolkata")
_MARKER = re.compile(r"\[\[(\w+)\]\]")


def _now() -> datetime:
    return datetime.now(TIMEZONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatbotBehaviour:
    """The configuration of the simulated Kaira."""

    weaknesses: frozenset[Weakness] = frozenset()
    faults: Mapping[SimulatedFault, float] = field(default_factory=dict[SimulatedFault, float])
    """The share of turns with each fault, from 0 to 1. The sum is at most 1."""
    seed: int = 0
    """The same seed gives the same faults in the same turns of a user."""
    obey_markers: bool = False
    latency_ms: float = 0.0
    """The delay before an answer begins."""
    pause_ms: float = 100.0
    """The delay between the frames of an answer that is slow or endless."""
    tokens: frozenset[str] | None = None
    """The accepted tokens; None: any token except `bad-token`."""
    now: Callable[[], datetime] = _now
    """Returns the current time of the bot, with a time zone."""

    def fault(self, text: str, draw: float) -> SimulatedFault | None:
        """The fault for a message. `draw` is a number in [0, 1)."""
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


class ChatbotStats(SessionStats):
    """Counters since the start."""

    requests: int
    open_streams: int
    aborted: int
    """Requests whose client disconnected."""
    by_status: dict[str, int]


class ChatbotSimulation:
    """The ASGI app of the simulated Kaira, with its sessions and counters."""

    def __init__(
        self, behaviour: ChatbotBehaviour, *, close_connection: Callable[[tuple[str, int]], None]
    ) -> None:
        """`close_connection` aborts the connection of a client (host and port)."""
        v2 = KairaV2Protocol(shows_cards=Weakness.OMITS_CHIPS not in behaviour.weaknesses)
        self.app = Starlette(
            routes=[
                Route("/chat/stream", _ProtocolEndpoint(self, KairaV1Protocol()), methods=["POST"]),
                Route("/api/chat", _ProtocolEndpoint(self, v2), methods=["POST"]),
                Route("/api/upload-image", self._upload, methods=["POST"]),
                Route(
                    "/v1/chat/completions",
                    _ProtocolEndpoint(self, OpenAIChatbotProtocol()),
                    methods=["POST"],
                ),
                Route("/webhook", _ProtocolEndpoint(self, WebhookProtocol()), methods=["POST"]),
                Route("/webhook/{session}", self._close, methods=["DELETE"]),
                Route("/stats", self._stats),
            ]
        )
        self._behaviour = behaviour
        self._close_connection = close_connection
        self._sessions = ChatbotSessions(
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
    def stats(self) -> ChatbotStats:
        return {
            "requests": self._requests,
            "open_streams": self._open_streams,
            "aborted": self._aborted,
            "by_status": {str(status): count for status, count in self._by_status.items()},
            **self._sessions.stats,
        }

    async def until(self, condition: Callable[[ChatbotStats], bool]) -> None:
        """Wait until a condition holds for the stats."""
        while not condition(self.stats):
            self._changed.clear()
            await self._changed.wait()

    async def respond(self, protocol: ChatbotProtocol, request: Request, send: Send) -> None:
        """Answer a request of one of the protocols."""
        self._requests += 1
        self._open_streams += 1
        self._changed.set()
        try:
            error_response = await self._answer(protocol, request, send)
            if error_response is not None:
                self._count(error_response.status_code)
                await error_response(request.scope, request.receive, send)
        except ClientDisconnect:
            self._aborted += 1
        finally:
            self._open_streams -= 1
            self._changed.set()

    async def _answer(
        self, protocol: ChatbotProtocol, request: Request, send: Send
    ) -> Response | None:
        """Answer the request, or return an error response that is not sent yet."""
        body = await request.body()
        if not self._behaviour.accepts(_token(request)):
            return _error_response(401, "the token is not valid")
        try:
            chatbot_request = protocol.read(body)
            self._use_image(chatbot_request)
            with self._sessions.turn(chatbot_request) as turn:
                fault = self._fault(chatbot_request, turn)
                if fault is not None and fault.status is not None:
                    return _error_response(fault.status, "something went wrong, on purpose")
                await self._send_steps(
                    request, send, protocol, self._steps(protocol, chatbot_request, turn, fault)
                )
        except ValidationError as error:
            return _error_response(422, f"not a request that the simulated Kaira knows: {error}")
        except UnknownSessionError:
            return _error_response(404, "there is no such session")
        except _UnknownImageError:
            return _error_response(422, "there is no such image, or it was used before")
        return None

    def _fault(self, chatbot_request: ChatbotRequest, turn: SimulatedTurn) -> SimulatedFault | None:
        (draw,) = draws(self._behaviour.seed, chatbot_request.user_id, turn.number)
        return self._behaviour.fault(chatbot_request.text, draw)

    def _steps(
        self,
        protocol: ChatbotProtocol,
        chatbot_request: ChatbotRequest,
        turn: SimulatedTurn,
        fault: SimulatedFault | None,
    ) -> Iterator[SendStep]:
        ids = AnswerIds(
            session=turn.session,
            response_id=f"simulated-{chatbot_request.user_id}-{turn.number}",
            is_new=turn.is_new,
            sees_image=chatbot_request.image_id is not None,
        )
        answer = turn.dialogue.answer(chatbot_request.text)
        pause_seconds = self._behaviour.pause_ms / 1000
        return steps(fault, protocol, answer, ids, pause_seconds=pause_seconds)

    async def _send_steps(
        self, request: Request, send: Send, protocol: ChatbotProtocol, steps: Iterator[SendStep]
    ) -> None:
        """Send an answer step by step.

        Raises:
            ClientDisconnect: the client has disconnected.
        """
        await _wait(request, self._behaviour.latency_ms / 1000)
        has_started = False
        for step in steps:
            await _wait(request, step.after_seconds)
            if not has_started:
                has_started = True
                self._count(200)
                await send(_start(protocol.media_type))
            if step.data is None:
                await self._drop_connection(request)
                return
            await send({"type": "http.response.body", "body": step.data, "more_body": True})
        if await request.is_disconnected():
            raise ClientDisconnect
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _count(self, status: int) -> None:
        self._by_status[status] += 1
        self._changed.set()

    async def _drop_connection(self, request: Request) -> None:
        if request.client is not None:
            self._close_connection((request.client.host, request.client.port))
        await _disconnected(request)

    def _use_image(self, chatbot_request: ChatbotRequest) -> None:
        if chatbot_request.image_id is None:
            return
        if chatbot_request.image_id not in self._images:
            raise _UnknownImageError
        self._images.discard(chatbot_request.image_id)

    async def _upload(self, request: Request) -> Response:
        body = await request.body()
        kind = request.headers.get("content-type", "")
        if not self._behaviour.accepts(_token(request)):
            return _error_response(401, "the token is not valid")
        if not kind.startswith("multipart/form-data") or b'name="file"' not in body:
            return _error_response(422, "a multipart field named file is needed")
        self._uploads += 1
        image_id = f"simulated-image-{self._uploads}"
        self._images.add(image_id)
        return JSONResponse({"image_id": image_id})

    async def _close(self, request: Request) -> Response:
        if not self._behaviour.accepts(_token(request)):
            return _error_response(401, "the token is not valid")
        closed = self._sessions.close(request.path_params["session"])
        self._changed.set()
        return (
            Response(status_code=204)
            if closed
            else _error_response(404, "there is no such session")
        )

    async def _stats(self, _request: Request) -> Response:
        return JSONResponse(self.stats)


class _UnknownImageError(Exception):
    """The image was not uploaded, or it was used before. An image can be used once."""


class _ProtocolEndpoint:
    """The endpoint of one protocol."""

    def __init__(self, simulation: ChatbotSimulation, protocol: ChatbotProtocol) -> None:
        self._simulation = simulation
        self._protocol = protocol

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._simulation.respond(self._protocol, Request(scope, receive), send)


def _token(request: Request) -> str:
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    return request.headers.get("token", bearer)


def _error_response(status: int, detail: str) -> Response:
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
