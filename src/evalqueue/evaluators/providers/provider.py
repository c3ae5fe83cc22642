"""The interface of a provider: its requests and completions.

A provider makes exactly one attempt per call. `policy` waits, retries and limits concurrency for
all of them. A failure is raised as a classified `errors.ProviderError`.
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
    """The schema's name for the vendor: at most 64 letters, digits, `_` and `-`."""
    schema: Mapping[str, Any]
    """JSON Schema of the answer, in the subset that every vendor's strict mode accepts."""
    temperature: float | None = 0.1
    max_output_tokens: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call. None: the vendor did not report them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    """All tokens billed as output: the answer and the reasoning before it."""
    cached_tokens: int | None = None
    """The part of `input_tokens` that the vendor had in its cache."""
    reasoning_tokens: int | None = None
    """The part of `output_tokens` that is not in the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer, with its own usage."""

    text: str
    model: str
    """The model's name in the vendor's answer."""
    usage: Usage = field(default_factory=Usage)
    latency_ms: float
    request_id: str | None = None


class Provider(Protocol):
    """One model of an LLM vendor, with one credential."""

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
