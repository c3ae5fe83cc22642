"""The record of LLM calls: one `CallRecord` per attempt, passed to a recorder that never blocks.

Judges depend on the protocol only. `runs.call_log` writes the records in batches, so a call never
waits for the database.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import (
    Completion,
    CompletionRequest,
    Provider,
    Usage,
    credential_of,
)

PROMPT_LIMIT = 50_000  # characters
SYSTEM_PROMPT_LIMIT = 20_000  # characters
RESPONSE_LIMIT = 50_000  # characters


def new_call_id() -> UUID:
    """A UUID of version 7 (RFC 9562), which begins with the time: the index of call ids then grows
    at its end, and does not write a page of its own for each call."""
    milliseconds = (time.time_ns() // 1_000_000).to_bytes(6)
    random = bytearray(os.urandom(10))
    random[0] = 0x70 | random[0] & 0x0F
    random[2] = 0x80 | random[2] & 0x3F
    return UUID(bytes=milliseconds + bytes(random))


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSite:
    """The purpose of a call."""

    evaluator: str
    thread_id: str | None = None
    turn: int | None = None
    label: str | None = None
    """A test case's name, where there is no thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One attempt at one LLM call."""

    site: CallSite
    provider: str
    model: str
    method: str
    """`generate_json`, or `repair` when a malformed answer is requested again."""
    outcome: CallOutcome
    try_number: int
    """1 for the first attempt of the call."""
    prompt: str
    system_prompt: str
    response: str | None
    error: str | None
    started_at: datetime
    duration_ms: float
    usage: Usage
    request_id: str | None = None
    call_id: UUID = field(default_factory=new_call_id)
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What was really sent besides the texts, in the vendor's spelling. Empty: nothing was sent, or
    it is not known."""
    is_batched: bool = False
    """Whether it was a part of a batch, at the price of batches."""
    request_hash: bytes | None = None
    """The key of the call. None: there is no answer, or `response` does not contain all of it."""
    question_hash: bytes | None = None
    """The key of the question, wherever it is asked. None: likewise."""


class Recorder(Protocol):
    """Accepts call records."""

    @property
    def is_ready(self) -> bool:
        """Whether another call may start: not while too many records can't be written, or once the
        attempt may be over."""
        ...

    async def ready(self) -> None:
        """Wait until another call may start."""
        ...

    def record(self, call: CallRecord) -> None:
        """Accept a record. Must not block."""
        ...


def request_hash(
    request: CompletionRequest, site: CallSite, method: str, provider: Provider
) -> bytes:
    """A digest of everything that determines the answer, and of the call's purpose.

    The same question for two turns gives two keys: one answer must not count twice.
    """
    said_by = _texts(provider.name, provider.model, method)
    said_of = json.dumps([site.evaluator, site.thread_id, site.turn, site.label])
    return sha256(f'[{said_by}, {said_of}, "{request.digest}"]'.encode()).digest()


def question_hash(request: CompletionRequest, method: str, provider: Provider) -> bytes:
    """A digest of everything that determines the answer, and of nothing else: 16 bytes.

    The endpoint is part of it: other servers may have another model of this name.
    """
    asked_of = _texts(provider.name, provider.model, credential_of(provider).endpoint, method)
    return sha256(f'[{asked_of}, "{request.digest}"]'.encode()).digest()[:16]


@lru_cache
def _texts(*texts: str) -> str:
    """A JSON list. The calls of a process have few different ones."""
    return json.dumps(texts)


class AttemptLog:
    """One attempt, before its `CallRecord` is complete."""

    def __init__(
        self,
        provider: Provider,
        request: CompletionRequest,
        site: CallSite,
        method: str,
        *,
        try_number: int,
    ) -> None:
        self._provider = provider
        self._request = request
        self._site = site
        self._method = method
        self._try_number = try_number
        self._started_at = datetime.now(UTC)
        self._started = time.perf_counter()

    def answered(self, completion: Completion) -> CallRecord:
        return self._record(
            CallOutcome.OK,
            model=completion.model,
            response=completion.text,
            usage=completion.usage,
            request_id=completion.request_id,
            parameters=completion.parameters,
            is_whole=len(completion.text) <= RESPONSE_LIMIT,
        )

    def failed(self, error: ProviderError) -> CallRecord:
        return self._record(
            error.outcome,
            response=error.answer,
            error=error.message,
            usage=error.usage,
            request_id=error.request_id,
            parameters=error.parameters,
        )

    def cancelled(self) -> CallRecord:
        return self._record(CallOutcome.CANCELLED, error="cancelled before there was an answer")

    def _record(
        self,
        outcome: CallOutcome,
        *,
        model: str | None = None,
        response: str | None = None,
        error: str | None = None,
        usage: Usage | None = None,
        request_id: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        is_whole: bool = False,
    ) -> CallRecord:
        request, provider = self._request, self._provider
        return CallRecord(
            site=self._site,
            provider=self._provider.name,
            model=model or self._provider.model,
            method=self._method,
            outcome=outcome,
            try_number=self._try_number,
            prompt=self._request.prompt[:PROMPT_LIMIT],
            system_prompt=self._request.system[:SYSTEM_PROMPT_LIMIT],
            response=None if response is None else response[:RESPONSE_LIMIT],
            error=error,
            started_at=self._started_at,
            duration_ms=(time.perf_counter() - self._started) * 1000,
            usage=usage or Usage(),
            request_id=request_id,
            parameters=parameters or {},
            request_hash=request_hash(request, self._site, self._method, provider)
            if is_whole
            else None,
            question_hash=question_hash(request, self._method, provider) if is_whole else None,
        )
