"""A simulated LLM vendor: a loopback server with the protocols of OpenAI, Azure and Gemini.

It is a server, so that tests, benchmarks and the demo use the real SDKs: their parsing, errors and
connections. Faults are drawn from a hash of the seed, the request, and the number of earlier equal
requests. So a run is reproducible, and a retry gets a new draw. Every answer is marked: the model
is `simulated-judge`, and the reasoning starts with "simulated".

Some names force an outcome: the key `bad-key`, the model `no-such-model`, and the models
`always-FAULT`, where FAULT is a member of `VendorFault`. The models `situation-NAME` answer in one
of the ways of `situations`.

`python -m evalqueue.evaluators.simulated.vendor.server --port 8722` runs it as a program.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from statistics import NormalDist
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from evalqueue.evaluators.simulated.draws import draws
from evalqueue.evaluators.simulated.loopback import Loopback
from evalqueue.evaluators.simulated.vendor import answers
from evalqueue.evaluators.simulated.vendor.answers import Gold, Json, Malformed, SimulatedQuestion
from evalqueue.evaluators.simulated.vendor.limits import (
    Allowance,
    LimitKind,
    LimitOptions,
    RetryAdvice,
)
from evalqueue.evaluators.simulated.vendor.protocols import (
    AzureVendorProtocol,
    GeminiVendorProtocol,
    OpenAIVendorProtocol,
    VendorFault,
    VendorProtocol,
    VendorReply,
    VendorRequest,
    count_tokens,
)
from evalqueue.evaluators.simulated.vendor.situations.chat import CHAT
from evalqueue.evaluators.simulated.vendor.situations.gemini import GEMINI
from evalqueue.evaluators.simulated.vendor.situations.situation import PREFIX, Reply, Situation
from evalqueue.evaluators.simulated.vendor.situations.situation import reply as reply_in

BAD_KEY = "bad-key"
MISSING_MODEL = "no-such-model"
_MAX_REMEMBERED_REQUESTS = 200_000
_CLIENT_CLOSED_REQUEST = 499
_FIREWALL_PAGE = VendorReply(
    body={},
    status=403,
    page="<html><head><title>403 Forbidden</title></head><body>Request blocked.</body></html>",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """The configuration of the simulated vendor. Rates are shares of requests, from 0 to 1."""

    seed: int = 0
    latency_ms: float = 0.0
    """The median latency."""
    latency_sigma: float = 0.0
    """Sigma of the lognormal distribution of latencies; 0: always the median."""
    rate_429: float = 0.0
    retry_after_seconds: float | None = None
    rate_500: float = 0.0
    rate_malformed: float = 0.0
    rate_refusal: float = 0.0
    rate_silent: float = 0.0
    """The share of requests without an answer."""
    only_gold: bool = False
    """Whether a question without a gold label is not judged, instead of getting a guess."""
    error_rate: float = 0.0
    """The share of gold labels that the judge gets wrong."""
    unknown_parameters: frozenset[str] = frozenset()
    """Parameters of the OpenAI protocol that get HTTP 400.

    Possible members: json_schema, temperature, max_tokens, max_completion_tokens.
    """
    limit_requests: int | None = None
    """Requests in a window of one key and model. None: no limit."""
    limit_tokens: int | None = None
    """Tokens in a window: those of the prompt, and as many as `limit_output_tokens` says."""
    limit_output_tokens: int = 100
    """What each request counts against `limit_tokens` besides its prompt."""
    limit_window_seconds: float = 60.0
    limit_kind: LimitKind = LimitKind.BUCKET
    limit_burst_seconds: float | None = None
    """What a bucket holds, in seconds of its refill. None: as much as a window."""
    limit_halved_after: int | None = None
    """The number of requests after which the limits are half of that."""
    limit_requests_per_day: int | None = None
    retry_advice: RetryAdvice = RetryAdvice.NONE
    """How a refusal over a limit says when to come back."""
    limit_headers: bool = False
    """Whether answers carry `x-ratelimit-…` headers."""
    limit_named: bool = False
    """Whether a refusal names the limit."""
    forbidden: str | None = None
    """A prompt with this text is answered with the page of a firewall, status 403."""
    gold: Json | Path | None = None
    """Labels by evaluator, thread and turn; None: those of the bundled conversations."""

    @property
    def limits(self) -> LimitOptions:
        return LimitOptions(
            requests=self.limit_requests,
            tokens=self.limit_tokens,
            window_seconds=self.limit_window_seconds,
            kind=self.limit_kind,
            burst_seconds=self.limit_burst_seconds,
            halved_after_requests=self.limit_halved_after,
            requests_per_day=self.limit_requests_per_day,
        )

    def fault(self, draw: float) -> VendorFault | None:
        """The fault for a draw in [0, 1)."""
        for rate, fault in (
            (self.rate_429, VendorFault.RATE_LIMITED),
            (self.rate_500, VendorFault.SERVER_ERROR),
            (self.rate_malformed, VendorFault.MALFORMED),
            (self.rate_refusal, VendorFault.REFUSAL),
            (self.rate_silent, VendorFault.SILENT),
        ):
            if draw < rate:
                return fault
            draw -= rate
        return None

    def latency_seconds(self, draw: float) -> float:
        """The latency for a draw in [0, 1)."""
        if self.latency_sigma == 0:
            return self.latency_ms / 1000
        normal = NormalDist().inv_cdf(min(max(draw, 1e-9), 1 - 1e-9))
        return self.latency_ms / 1000 * math.exp(self.latency_sigma * normal)


class SimulatedServer:
    """The simulated vendor on 127.0.0.1, running inside `async with`."""

    def __init__(self, behaviour: Behaviour | None = None, *, port: int = 0) -> None:
        """Port 0: a free port, known once the server runs."""
        self.simulation = VendorSimulation(behaviour or Behaviour())
        self._server = Loopback(self.simulation.app, port=port)

    @property
    def url(self) -> str:
        """The base URL, without the path of a vendor (`/v1` for OpenAI's clients)."""
        return self._server.url

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.simulation.close()
        await self._server.stop()


class VendorSimulation:
    """The ASGI app of the simulated vendor, with its request history and counters."""

    def __init__(self, behaviour: Behaviour) -> None:
        named = behaviour.limit_named
        openai, azure, gemini = (
            self._endpoint(protocol, replies)
            for protocol, replies in (
                (OpenAIVendorProtocol(names_limits=named), CHAT),
                (AzureVendorProtocol(names_limits=named), CHAT),
                (GeminiVendorProtocol(names_limits=named), GEMINI),
            )
        )
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", openai, methods=["POST"]),
                Route("/openai/deployments/{deployment}/chat/completions", azure, methods=["POST"]),
                Route("/v1beta/models/{model}:generateContent", gemini, methods=["POST"]),
                Route("/v1/models/{model}:generateContent", gemini, methods=["POST"]),
                Route("/stats", self._stats),
            ]
        )
        self._behaviour = behaviour
        self._gold = Gold(behaviour.gold)
        self._allowances: dict[tuple[str, str], Allowance] = {}
        self._request_counts: dict[bytes, int] = {}
        self._answered: set[bytes] = set()
        self._pending_waits: set[asyncio.Timeout] = set()
        self._requests = 0
        self._in_flight = 0
        self._max_in_flight = 0
        self._aborted = 0
        self._duplicates = 0
        self._tokens_in = 0
        self._tokens_out = 0
        self._by_status: Counter[int] = Counter()
        self._changed = asyncio.Event()

    @property
    def stats(self) -> dict[str, object]:
        """The counters since the start, as JSON."""
        return {
            "requests": self._requests,
            "in_flight": self._in_flight,
            "max_in_flight": self._max_in_flight,
            "by_status": {str(status): count for status, count in self._by_status.items()},
            "aborted": self._aborted,
            "duplicates": self._duplicates,
            "tokens_in": self._tokens_in,
            "tokens_out": self._tokens_out,
        }

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until a condition holds for the stats."""
        while not condition(self.stats):
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """Answer all waiting requests at once."""
        now = asyncio.get_running_loop().time()
        for wait in self._pending_waits:
            wait.reschedule(now)

    async def _stats(self, _request: Request) -> Response:
        return _response(VendorReply(body=self.stats))

    def _endpoint(
        self, protocol: VendorProtocol, situations: Mapping[str, Reply]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            self._requests += 1
            self._in_flight += 1
            self._max_in_flight = max(self._max_in_flight, self._in_flight)
            self._changed.set()
            try:
                reply = await self._reply(request, protocol, situations)
                self._by_status[reply.status] += 1
                return _response(reply)
            except ClientDisconnect:
                self._aborted += 1
                return Response(status_code=_CLIENT_CLOSED_REQUEST)
            finally:
                self._in_flight -= 1
                self._changed.set()

        return endpoint

    async def _reply(
        self, request: Request, protocol: VendorProtocol, situations: Mapping[str, Reply]
    ) -> VendorReply:
        body = await request.body()
        try:
            call = protocol.read(body, request.path_params, request.headers)
        except ValidationError as error:
            return protocol.error(400, f"not a request that the simulated server knows: {error}")
        unknown = call.parameters & self._behaviour.unknown_parameters
        if unknown:
            return protocol.error(400, f"Unsupported parameter: '{min(unknown)}'.")
        if self._behaviour.forbidden and self._behaviour.forbidden.encode() in body:
            return _FIREWALL_PAGE
        allowance = self._allowance(call)
        over = allowance.take(call.input_tokens + self._behaviour.limit_output_tokens)
        headers = allowance.headers() if self._behaviour.limit_headers else dict[str, str]()
        if over is not None:
            return _with(protocol.over_limit(call, over, self._behaviour.retry_advice), headers)
        in_situation = self._in_situation(body, call, situations)
        return _with(in_situation or await self._admitted(request, body, call, protocol), headers)

    def _in_situation(
        self, body: bytes, call: VendorRequest, situations: Mapping[str, Reply]
    ) -> VendorReply | None:
        if not call.model.startswith(PREFIX):
            return None
        digest = blake2b(body, digest_size=16, key=call.model.encode()[-64:]).digest()
        situation = Situation(
            call=call,
            answer=self._answer(call.question),
            previous_requests=self._count_request(digest),
        )
        return reply_in(situations, situation)

    def _allowance(self, call: VendorRequest) -> Allowance:
        return self._allowances.setdefault(
            (call.key, call.model), Allowance(self._behaviour.limits)
        )

    async def _admitted(
        self, request: Request, body: bytes, call: VendorRequest, protocol: VendorProtocol
    ) -> VendorReply:
        # Gemini's model is in the path only.
        digest = blake2b(body, digest_size=16, key=request.url.path.encode()[-64:]).digest()
        previous_requests = self._count_request(digest)
        about = (self._behaviour.seed, digest.hex(), previous_requests)
        fault_draw, kind_draw, latency_draw = draws(*about, count=3)
        fault = _forced_fault(call) or self._behaviour.fault(fault_draw)
        if fault is VendorFault.SILENT:
            await self._wait(request, None)
            fault = VendorFault.SERVER_ERROR  # such a wait ends only when this server closes
        elif fault is None or not fault.precedes_completion:
            await self._wait(request, self._behaviour.latency_seconds(latency_draw))
        if fault is None and self._refuses(call.question):
            return protocol.refusal(call, answers.NOT_JUDGED)
        text = json.dumps(self._answer(call.question))
        if fault is VendorFault.MALFORMED:
            text = answers.make_malformed(text, list(Malformed)[int(kind_draw * len(Malformed))])
        elif fault is not None:
            limited = fault is VendorFault.RATE_LIMITED
            retry_after = self._behaviour.retry_after_seconds if limited else None
            return protocol.fault(call, fault, text, retry_after)
        self._answered.add(digest)
        self._tokens_in += call.input_tokens
        self._tokens_out += count_tokens(text)
        return protocol.answer(call, text, f"simulated-{digest.hex()}-{previous_requests}")

    def _answer(self, question: SimulatedQuestion) -> Json:
        return answers.answer(
            question,
            self._gold,
            error_rate=self._behaviour.error_rate,
            seed=self._behaviour.seed,
        )

    def _refuses(self, question: SimulatedQuestion) -> bool:
        return self._behaviour.only_gold and not answers.can_judge(question, self._gold)

    def _count_request(self, digest: bytes) -> int:
        """Count a request. Returns the number of earlier equal requests."""
        previous_requests = self._request_counts.pop(digest, 0)
        self._request_counts[digest] = previous_requests + 1
        if digest in self._answered:
            self._duplicates += 1
        if len(self._request_counts) > _MAX_REMEMBERED_REQUESTS:
            oldest = next(iter(self._request_counts))
            del self._request_counts[oldest]
            self._answered.discard(oldest)
        return previous_requests

    async def _wait(self, request: Request, seconds: float | None) -> None:
        """Wait, as long as the client is connected.

        Raises:
            ClientDisconnect: the client has disconnected.
        """
        if seconds == 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds) as wait:
                self._pending_waits.add(wait)
                try:
                    await _disconnected(request)
                finally:
                    self._pending_waits.discard(wait)
            raise ClientDisconnect


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _forced_fault(call: VendorRequest) -> VendorFault | None:
    if call.key == BAD_KEY:
        return VendorFault.AUTH
    if call.model == MISSING_MODEL:
        return VendorFault.MODEL_MISSING
    prefix, _, name = call.model.partition("always-")
    return VendorFault(name) if not prefix and name in set(VendorFault) else None


def _with(reply: VendorReply, headers: Mapping[str, str]) -> VendorReply:
    return dataclasses.replace(reply, headers={**reply.headers, **headers})


def _response(reply: VendorReply) -> Response:
    if reply.page is not None:
        return Response(reply.page, status_code=reply.status, media_type=reply.page_type)
    # Escaped to ASCII: half an emoji in a prompt must not break the answer that quotes it.
    return Response(
        json.dumps(reply.body),
        status_code=reply.status,
        headers=dict(reply.headers),
        media_type="application/json",
    )


_SWITCHES = frozenset({"limit_headers", "limit_named", "only_gold"})
_OPTION_TYPES: Mapping[str, Callable[[str], object]] = {
    "seed": int,
    "limit_requests": int,
    "limit_tokens": int,
    "limit_output_tokens": int,
    "limit_halved_after": int,
    "limit_requests_per_day": int,
    "limit_kind": LimitKind,
    "retry_advice": RetryAdvice,
    "forbidden": str,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the server in the foreground until it is interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m evalqueue.evaluators.simulated.vendor.server",
        description="A simulated LLM vendor.",
    )
    parser.add_argument("--port", type=int, default=8722, help="0: a free one (default 8722)")
    for option in dataclasses.fields(Behaviour):
        flag = f"--{option.name.replace('_', '-')}"
        if option.name in _SWITCHES:
            parser.add_argument(flag, action="store_true")
        elif option.name not in {"unknown_parameters", "gold"}:
            kind = _OPTION_TYPES.get(option.name, float)
            parser.add_argument(flag, type=kind, default=option.default)
    parser.add_argument("--gold", type=Path, help="a JSON file of gold labels")
    options = vars(parser.parse_args(arguments))
    port = options.pop("port")
    Loopback(VendorSimulation(Behaviour(**options)).app, port=port).run("simulated provider")


if __name__ == "__main__":
    main()
