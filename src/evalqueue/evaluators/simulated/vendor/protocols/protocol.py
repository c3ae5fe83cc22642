"""What the HTTP protocols of vendors have in common: parse requests, write answers and errors.

Each covers what the real SDKs send and read. There is one `VendorProtocol` per vendor, and the
server does not depend on any of them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from evalqueue.evaluators.simulated.vendor.answers import Json, SimulatedQuestion
from evalqueue.evaluators.simulated.vendor.limits import LimitRefusal, RetryAdvice

MODEL = "simulated-judge"
"""The model that every answer names, independent of the requested model."""


class VendorFault(StrEnum):
    """A fault of the vendor. The model `always-FAULT` gets that fault every time."""

    AUTH = "auth"
    BILLING = "billing"
    MODEL_MISSING = "model-missing"
    RATE_LIMITED = "rate-limited"
    SERVER_ERROR = "server-error"
    BAD_REQUEST = "bad-request"
    CONTEXT_TOO_LONG = "context-too-long"
    CONTENT_FILTER = "content-filter"
    REFUSAL = "refusal"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    SILENT = "silent"
    """No answer until the client gives up."""

    @property
    def precedes_completion(self) -> bool:
        """Whether the vendor detects it before it runs the model."""
        return self in _BEFORE_COMPLETION


_BEFORE_COMPLETION = frozenset(
    {
        VendorFault.AUTH,
        VendorFault.BILLING,
        VendorFault.MODEL_MISSING,
        VendorFault.RATE_LIMITED,
        VendorFault.BAD_REQUEST,
        VendorFault.CONTEXT_TOO_LONG,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorRequest:
    """A parsed request."""

    key: str
    model: str
    question: SimulatedQuestion
    parameters: frozenset[str]
    """The given parameters among those that some servers do not support."""
    input_tokens: int
    settings: Json = field(default_factory=dict[str, Any])
    """The parameters as they were sent; of Gemini, its `generationConfig`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorReply:
    """A response to send."""

    body: Json | list[Json]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    page: str | None = None
    """A text instead of `body`."""
    page_type: str = "text/html"


class VendorProtocol(Protocol):
    """A vendor's protocol."""

    def read(
        self, body: bytes, path: Mapping[str, str], headers: Mapping[str, str]
    ) -> VendorRequest:
        """Parse a request.

        Raises:
            pydantic.ValidationError: the body is not a request of this protocol.
        """
        ...

    def answer(self, call: VendorRequest, text: str, request_id: str) -> VendorReply: ...

    def fault(
        self, call: VendorRequest, fault: VendorFault, text: str, retry_after: float | None
    ) -> VendorReply:
        """The response for a fault. `text` is the answer without the fault."""
        ...

    def refusal(self, call: VendorRequest, reason: str) -> VendorReply:
        """The response of a model that does not judge."""
        ...

    def over_limit(
        self, call: VendorRequest, over: LimitRefusal, advice: RetryAdvice
    ) -> VendorReply:
        """Refuse a request that is over a limit."""
        ...

    def error(self, status: int, message: str) -> VendorReply: ...


def schema_in_text(system: str) -> tuple[str, Json]:
    """The name and the JSON schema in a system text."""
    match = re.search(r"^Schema name: (\S+)\n(?=\{)", system, re.MULTILINE)
    if match is None:
        return "", {}
    return match[1], json.JSONDecoder().raw_decode(system, match.end())[0]


def count_tokens(*texts: str) -> int:
    """An estimate of the token count, at four characters per token."""
    return sum(len(text) for text in texts) // 4
