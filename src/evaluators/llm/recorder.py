"""What is kept of every LLM call: one `CallRecord` per attempt, handed over, never awaited.

The thinking rooms only know the protocol; `store` writes the records in batches, off the hot path.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from evalqueue.evaluators.llm.errors import Outcome
from evalqueue.evaluators.llm.provider import Usage

PROMPT_LIMIT = 50_000  # characters
SYSTEM_PROMPT_LIMIT = 20_000  # characters
RESPONSE_LIMIT = 50_000  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSite:
    """What a call was made for."""

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
    """`generate_json`, or `repair` when a malformed answer was asked for again."""
    outcome: Outcome
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


class Recorder(Protocol):
    """Takes call records; must not block."""

    def record(self, call: CallRecord) -> None: ...
