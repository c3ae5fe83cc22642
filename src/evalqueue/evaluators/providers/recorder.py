"""The record of LLM calls: one `CallRecord` per attempt, passed to a recorder that never blocks.

Judges depend on the protocol only. `runs.call_log` writes the records in batches, so a call never
waits for the database.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID, uuid4

from evalqueue.evaluators.providers.errors import CallOutcome
from evalqueue.evaluators.providers.provider import (
    CompletionRequest,
    Provider,
    Usage,
    credential_of,
)

PROMPT_LIMIT = 50_000  # characters
SYSTEM_PROMPT_LIMIT = 20_000  # characters
RESPONSE_LIMIT = 50_000  # characters


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
    call_id: UUID = field(default_factory=uuid4)
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
    """Accepts call records. Must not block."""

    def record(self, call: CallRecord) -> None: ...


def request_hash(
    request: CompletionRequest, site: CallSite, method: str, provider: Provider
) -> bytes:
    """A digest of everything that determines the answer, and of the call's purpose.

    The same question for two turns gives two keys: one answer must not count twice.
    """
    said_by = [provider.name, provider.model, method]
    said_of = [site.evaluator, site.thread_id, site.turn, site.label]
    return sha256(json.dumps([said_by, said_of, request.digest]).encode()).digest()


def question_hash(request: CompletionRequest, method: str, provider: Provider) -> bytes:
    """A digest of everything that determines the answer, and of nothing else: 16 bytes.

    The endpoint is part of it: other servers may have another model of this name.
    """
    asked_of = [provider.name, provider.model, credential_of(provider).endpoint, method]
    return sha256(json.dumps([asked_of, request.digest]).encode()).digest()[:16]
