"""The ASGI app of the simulated vendor: endpoints, limits, faults and counters.

`answers` decides what is answered, and `protocols` how an answer is written.
"""

import asyncio
import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from hashlib import blake2b

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from evalqueue.evaluators.simulated.draws import draws
from evalqueue.evaluators.simulated.vendor import answers
from evalqueue.evaluators.simulated.vendor.answers import Gold, Json, Malformed, SimulatedQuestion
from evalqueue.evaluators.simulated.vendor.batches.book import BatchBook, BatchCounts
from evalqueue.evaluators.simulated.vendor.batches.gemini import GeminiBatches
from evalqueue.evaluators.simulated.vendor.batches.openai import OpenAIBatches
from evalqueue.evaluators.simulated.vendor.behaviour import Behaviour
from evalqueue.evaluators.simulated.vendor.limits import Allowance
from evalqueue.evaluators.simulated.vendor.protocols.chat import (
    AzureVendorProtocol,
    OpenAIVendorProtocol,
)
from evalqueue.evaluators.simulated.vendor.protocols.gemini import GeminiVendorProtocol
from evalqueue.evaluators.simulated.vendor.protocols.protocol import (
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
_ONLY_LIVE = frozenset({VendorFault.RATE_LIMITED, VendorFault.SERVER_ERROR, VendorFault.SILENT})
"""Faults that do not meet the questions of a batch, which has its own."""


class VendorStats(BatchCounts):
    """Counters since the start."""

    requests: int
    in_flight: int
    max_in_flight: int
    by_status: dict[str, int]
    aborted: int
    """Requests whose client disconnected."""
    duplicates: int
    """Requests that were answered before."""
    batched: int
    """Questions of batches that were answered."""
    tokens_in: int
    tokens_out: int


class VendorSimulation:
    """The ASGI app of the simulated vendor, with its request history and counters."""

    def __init__(self, behaviour: Behaviour) -> None:
        named = behaviour.limit_named
        protocols = (
            OpenAIVendorProtocol(names_limits=named),
            AzureVendorProtocol(names_limits=named),
            GeminiVendorProtocol(names_limits=named),
        )
        openai, azure, gemini = (
            self._endpoint(protocol, replies)
            for protocol, replies in zip(protocols, (CHAT, CHAT, GEMINI), strict=True)
        )
        self._batches = BatchBook(behaviour.batches)
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", openai, methods=["POST"]),
                Route("/openai/deployments/{deployment}/chat/completions", azure, methods=["POST"]),
                Route("/v1beta/models/{model}:generateContent", gemini, methods=["POST"]),
                Route("/v1/models/{model}:generateContent", gemini, methods=["POST"]),
                Route("/stats", self._stats),
                *([] if behaviour.without_batches else self._batch_routes(*protocols)),
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
        self._batched = 0
        self._tokens_in = 0
        self._tokens_out = 0
        self._by_status: Counter[int] = Counter()
        self._changed = asyncio.Event()

    @property
    def stats(self) -> VendorStats:
        return {
            "requests": self._requests,
            "in_flight": self._in_flight,
            "max_in_flight": self._max_in_flight,
            "by_status": {str(status): count for status, count in self._by_status.items()},
            "aborted": self._aborted,
            "duplicates": self._duplicates,
            **self._batches.counts,
            "batched": self._batched,
            "tokens_in": self._tokens_in,
            "tokens_out": self._tokens_out,
        }

    async def until(self, condition: Callable[[VendorStats], bool]) -> None:
        """Wait until a condition holds for the stats."""
        while not condition(self.stats):
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """Answer all waiting requests at once."""
        now = asyncio.get_running_loop().time()
        for wait in self._pending_waits:
            if not wait.expired():
                wait.reschedule(now)

    def _batch_routes(
        self, openai: VendorProtocol, azure: VendorProtocol, gemini: VendorProtocol
    ) -> list[Route]:
        return [
            *GeminiBatches(self._batches, partial(self._answer_later, gemini)).routes,
            *OpenAIBatches(
                self._batches, partial(self._answer_later, openai), is_azure=False
            ).routes,
            *OpenAIBatches(self._batches, partial(self._answer_later, azure), is_azure=True).routes,
        ]

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
        digest = _digest(body, request.url.path)
        previous_requests = self._count_request(digest)
        about = (self._behaviour.seed, digest.hex(), previous_requests)
        fault_draw, kind_draw, latency_draw = draws(*about, count=3)
        fault = self._fault(call, fault_draw)
        if fault is VendorFault.SILENT:
            await self._wait(request, None)
            fault = VendorFault.SERVER_ERROR  # such a wait ends only when this server closes
        elif fault is None or not fault.precedes_completion:
            await self._wait(request, self._behaviour.latency_seconds(latency_draw))
        return self._completed(
            call, protocol, fault, digest=digest, previous_requests=previous_requests,
            kind_draw=kind_draw,
        )  # fmt: skip

    def _answer_later(
        self,
        protocol: VendorProtocol,
        body: bytes,
        path: str,
        path_params: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> VendorReply:
        """Answer a question of a batch as it would be answered by itself, without rate limits."""
        self._batched += 1
        try:
            call = protocol.read(body, path_params, headers)
        except ValidationError as error:
            return protocol.error(400, f"not a request that the simulated server knows: {error}")
        unknown = call.parameters & self._behaviour.unknown_parameters
        if unknown:
            return protocol.error(400, f"Unsupported parameter: '{min(unknown)}'.")
        digest = _digest(body, path)
        previous_requests = self._count_request(digest)
        about = (self._behaviour.seed, digest.hex(), previous_requests)
        fault_draw, kind_draw, _ = draws(*about, count=3)
        fault = self._fault(call, fault_draw)
        if fault in _ONLY_LIVE:
            fault = None
        return self._completed(
            call, protocol, fault, digest=digest, previous_requests=previous_requests,
            kind_draw=kind_draw,
        )  # fmt: skip

    def _completed(
        self,
        call: VendorRequest,
        protocol: VendorProtocol,
        fault: VendorFault | None,
        *,
        digest: bytes,
        previous_requests: int,
        kind_draw: float,
    ) -> VendorReply:
        if fault is None and self._refuses(call.question):
            return protocol.refusal(call, answers.NOT_JUDGED)
        text = json.dumps(self._answer(call.question, previous_requests))
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

    def _fault(self, call: VendorRequest, draw: float) -> VendorFault | None:
        limit = self._behaviour.context_tokens
        if limit is not None and call.input_tokens > limit:
            return VendorFault.CONTEXT_TOO_LONG
        return _forced_fault(call) or self._behaviour.fault(draw)

    def _answer(self, question: SimulatedQuestion, repetition: int = 0) -> Json:
        return answers.answer(
            question,
            self._gold,
            error_rate=self._behaviour.error_rate,
            seed=self._behaviour.seed,
            flip_rate=self._behaviour.flip_rate,
            repetition=repetition,
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


def _digest(body: bytes, path: str) -> bytes:
    """What makes requests equal. Gemini's model is in the path only."""
    return blake2b(body, digest_size=16, key=path.encode()[-64:]).digest()


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
