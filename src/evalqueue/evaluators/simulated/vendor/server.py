"""A simulated LLM vendor: a server on loopback that speaks as OpenAI, Azure and Gemini do.

A server and not a patch, so that tests, benchmarks and the demo go through the real SDKs: their
parsing, their errors, their connections. Faults are drawn from a hash of the seed, the request and
how often that request was seen: a run can be repeated, and a retry meets a new draw. Whatever it
says is marked: the model is `simulated-judge`, and reasoning starts with "simulated".

Some names force an outcome: the key `bad-key`, the model `no-such-model`, and the models
`always-…`, completed by a member of `Fault`.

`python -m evalqueue.evaluators.simulated.vendor.server --port 8722` runs it by itself.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
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

from evalqueue.evaluators.simulated.loopback import Loopback
from evalqueue.evaluators.simulated.vendor import answers
from evalqueue.evaluators.simulated.vendor.answers import Gold, Json, Malformed, SimulatedQuestion
from evalqueue.evaluators.simulated.vendor.protocols import (
    AzureVendorProtocol,
    GeminiVendorProtocol,
    OpenAIVendorProtocol,
    VendorFault,
    VendorProtocol,
    VendorReply,
    VendorRequest,
)

BAD_KEY = "bad-key"
MISSING_MODEL = "no-such-model"
_REMEMBERED_REQUESTS = 200_000
_CLIENT_WENT_AWAY = 499


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the simulated vendor behaves. Rates are shares of requests, from 0 to 1."""

    seed: int = 0
    latency_ms: float = 0.0
    """The median."""
    latency_sigma: float = 0.0
    """Of a lognormal distribution; 0: always the median."""
    rate_429: float = 0.0
    retry_after_seconds: float | None = None
    rate_500: float = 0.0
    rate_malformed: float = 0.0
    rate_refusal: float = 0.0
    rate_silent: float = 0.0
    """Never answered."""
    error_rate: float = 0.0
    """The share of gold labels that the judge gets wrong."""
    unknown_parameters: frozenset[str] = frozenset()
    """Of the OpenAI protocol: json_schema, temperature, max_tokens, max_completion_tokens."""
    gold: Json | Path | None = None
    """Labels by evaluator, thread and turn; None: those of the bundled conversations."""

    def fault(self, draw: float) -> VendorFault | None:
        """The fault that a number in [0, 1) stands for."""
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
        """The latency that a number in [0, 1) stands for."""
        if self.latency_sigma == 0:
            return self.latency_ms / 1000
        normal = NormalDist().inv_cdf(min(max(draw, 1e-9), 1 - 1e-9))
        return self.latency_ms / 1000 * math.exp(self.latency_sigma * normal)


class SimulatedServer:
    """The server, running inside `async with`; one `uvicorn` on 127.0.0.1."""

    def __init__(self, behaviour: Behaviour | None = None, *, port: int = 0) -> None:
        """`port` 0: a free one, known once the server runs."""
        self.simulation = VendorSimulation(behaviour or Behaviour())
        self._server = Loopback(self.simulation.app, port=port)

    @property
    def url(self) -> str:
        """Base address, without a vendor's path (`/v1` for OpenAI's clients)."""
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
    """The app, what it has seen and what it counts."""

    def __init__(self, behaviour: Behaviour) -> None:
        openai, azure = (
            self._endpoint(OpenAIVendorProtocol()),
            self._endpoint(AzureVendorProtocol()),
        )
        gemini = self._endpoint(GeminiVendorProtocol())
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
        self._seen: dict[bytes, int] = {}
        self._answered: set[bytes] = set()
        self._waits: set[asyncio.Timeout] = set()
        self._requests = 0
        self._in_flight = 0
        self._max_in_flight = 0
        self._aborted = 0
        self._duplicates = 0
        self._by_status: Counter[int] = Counter()
        self._changed = asyncio.Event()

    @property
    def stats(self) -> dict[str, object]:
        """What was counted since the start; JSON."""
        return {
            "requests": self._requests,
            "in_flight": self._in_flight,
            "max_in_flight": self._max_in_flight,
            "by_status": {str(status): count for status, count in self._by_status.items()},
            "aborted": self._aborted,
            "duplicates": self._duplicates,
        }

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until a condition holds for the stats."""
        while not condition(self.stats):
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """Answer all waiting requests at once."""
        now = asyncio.get_running_loop().time()
        for wait in self._waits:
            wait.reschedule(now)

    async def _stats(self, _request: Request) -> Response:
        return _response(VendorReply(body=self.stats))

    def _endpoint(self, wire: VendorProtocol) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            self._requests += 1
            self._in_flight += 1
            self._max_in_flight = max(self._max_in_flight, self._in_flight)
            self._changed.set()
            try:
                reply = await self._reply(request, wire)
                self._by_status[reply.status] += 1
                return _response(reply)
            except ClientDisconnect:
                self._aborted += 1
                return Response(status_code=_CLIENT_WENT_AWAY)
            finally:
                self._in_flight -= 1
                self._changed.set()

        return endpoint

    async def _reply(self, request: Request, wire: VendorProtocol) -> VendorReply:
        body = await request.body()
        try:
            ask = wire.read(body, request.path_params, request.headers)
        except ValidationError as error:
            return wire.refusal(400, f"not a request that the simulated server knows: {error}")
        unknown = ask.parameters & self._behaviour.unknown_parameters
        if unknown:
            return wire.refusal(400, f"Unsupported parameter: '{min(unknown)}'.")
        # Gemini's model is in the path only.
        digest = blake2b(body, digest_size=16, key=request.url.path.encode()[-64:]).digest()
        times = self._see(digest)
        about = (self._behaviour.seed, digest.hex(), times)
        which, how, latency = answers.draws(*about, count=3)
        fault = _forced(ask) or self._behaviour.fault(which)
        if fault is VendorFault.SILENT:
            await self._wait(request, None)
            fault = VendorFault.SERVER_ERROR  # only the closing of this server ends such a wait
        elif fault is None or not fault.answered_at_once:
            await self._wait(request, self._behaviour.latency_seconds(latency))
        text = self._answer(ask.question)
        if fault is VendorFault.MALFORMED:
            text = answers.spoil(text, list(Malformed)[int(how * len(Malformed))])
        elif fault is not None:
            limited = fault is VendorFault.RATE_LIMITED
            retry_after = self._behaviour.retry_after_seconds if limited else None
            return wire.fault(ask, fault, text, retry_after)
        self._answered.add(digest)
        return wire.answer(ask, text, f"simulated-{digest.hex()}-{times}")

    def _answer(self, question: SimulatedQuestion) -> str:
        return json.dumps(
            answers.answer(
                question,
                self._gold,
                error_rate=self._behaviour.error_rate,
                seed=self._behaviour.seed,
            )
        )

    def _see(self, digest: bytes) -> int:
        """Count a request; how often it was seen before."""
        times = self._seen.pop(digest, 0)
        self._seen[digest] = times + 1
        if digest in self._answered:
            self._duplicates += 1
        if len(self._seen) > _REMEMBERED_REQUESTS:
            oldest = next(iter(self._seen))
            del self._seen[oldest]
            self._answered.discard(oldest)
        return times

    async def _wait(self, request: Request, seconds: float | None) -> None:
        """Wait, as long as the client is connected.

        Raises:
            ClientDisconnect: the client has disconnected.
        """
        if seconds == 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds) as wait:
                self._waits.add(wait)
                try:
                    await _disconnected(request)
                finally:
                    self._waits.discard(wait)
            raise ClientDisconnect


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _forced(ask: VendorRequest) -> VendorFault | None:
    if ask.key == BAD_KEY:
        return VendorFault.AUTH
    if ask.model == MISSING_MODEL:
        return VendorFault.MODEL_MISSING
    prefix, _, name = ask.model.partition("always-")
    return VendorFault(name) if not prefix and name in set(VendorFault) else None


def _response(reply: VendorReply) -> Response:
    # Escaped to ASCII: half an emoji in a prompt must not break the answer that quotes it.
    return Response(
        json.dumps(reply.body),
        status_code=reply.status,
        headers=dict(reply.headers),
        media_type="application/json",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the server in the foreground until it is interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m evalqueue.evaluators.simulated.vendor.server",
        description="A simulated LLM vendor.",
    )
    parser.add_argument("--port", type=int, default=8722, help="0: a free one (default 8722)")
    for option in dataclasses.fields(Behaviour):
        if option.name not in {"unknown_parameters", "gold"}:
            kind = int if option.name == "seed" else float
            flag = f"--{option.name.replace('_', '-')}"
            parser.add_argument(flag, type=kind, default=option.default)
    parser.add_argument("--gold", type=Path, help="a JSON file of gold labels")
    options = vars(parser.parse_args(arguments))
    port = options.pop("port")
    Loopback(VendorSimulation(Behaviour(**options)).app, port=port).run("simulated provider")


if __name__ == "__main__":
    main()
