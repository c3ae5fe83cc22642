"""What a provider is, and the values that go in and out of one.

A provider makes exactly one attempt per call. Waiting, retrying and limiting live in `policy`,
so that they exist once. A failure is raised as `errors.ProviderError`, already classified.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """One question to an LLM."""

    system: str
    prompt: str
    schema_name: str
    """Names the schema to the vendor: letters, digits, `_` and `-`, at most 64."""
    schema: Mapping[str, Any]
    """JSON Schema of the answer, inside the subset that every vendor's strict mode takes."""
    temperature: float | None = 0.1
    max_output_tokens: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call; None: the vendor did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    """All that is billed as output: the answer and the reasoning before it."""
    cached_tokens: int | None = None
    """The part of `input_tokens` that the vendor had in its cache."""
    reasoning_tokens: int | None = None
    """The part of `output_tokens` that is not in the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer, with what it cost: never looked up afterwards from shared state."""

    text: str
    model: str
    """As the vendor named it in its answer."""
    usage: Usage = field(default_factory=Usage)
    latency_ms: float
    request_id: str | None = None


class Provider(Protocol):
    """An LLM vendor's endpoint, one model of it, one credential."""

    @property
    def name(self) -> str:
        """`openai`, `azure_openai`, `gemini` or `simulated`."""
        ...

    @property
    def model(self) -> str: ...

    async def complete(self, request: CompletionRequest, *, timeout: float) -> Completion:
        """Make one attempt, of at most `timeout` seconds.

        Raises:
            ProviderError: the attempt failed; `outcome` says how.
        """
        ...

    async def aclose(self) -> None: ...
