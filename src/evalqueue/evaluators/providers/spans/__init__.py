"""Spans of LLM calls, by OpenTelemetry's conventions for generative AI.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/

Texts are left out unless `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` asks for them.
"""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.provider import (
    Completion,
    CompletionRequest,
    Provider,
    credential_of,
)
from evalqueue.telemetry.spans import (
    UNTRACED,
    Attributes,
    SpanType,
    TracedWork,
    is_on,
    span,
)

if TYPE_CHECKING:
    from evalqueue.evaluators.providers.recorder import CallSite

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_CAPTURING = frozenset({"SPAN_ONLY", "SPAN_AND_EVENT", "TRUE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConventionalNames:
    """What the conventions call a provider, and what it does."""

    provider: str
    """`gen_ai.provider.name`"""
    operation: str = "chat"
    """`gen_ai.operation.name`"""


class TracedCall:
    """One attempt at a call, and its span if it has one."""

    def __init__(self, work: TracedWork) -> None:
        self._work = work

    def answered(self, completion: Completion) -> None:
        if not self._work.is_recording:
            return
        usage = completion.usage
        self._work.set(
            {
                "gen_ai.response.model": completion.model,
                "gen_ai.usage.input_tokens": usage.input_tokens,
                "gen_ai.usage.output_tokens": usage.output_tokens,
                "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
                "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
                "evalqueue.call.request_id": completion.request_id,
                **_answer(completion),
            }
        )

    def failed(self, error: ProviderError) -> None:
        """By its outcome: the vendor's text may quote what was asked."""
        self._work.set(
            {
                "gen_ai.usage.input_tokens": error.usage.input_tokens,
                "gen_ai.usage.output_tokens": error.usage.output_tokens,
                "evalqueue.call.request_id": error.request_id,
            }
        )
        self._work.fail(error.outcome.value)


_UNTRACED = TracedCall(UNTRACED)


@contextmanager
def attempt(
    provider: Provider,
    request: CompletionRequest,
    site: "CallSite",
    method: str,
    *,
    try_number: int,
) -> Generator[TracedCall]:
    """The span of one attempt at a call."""
    if not is_on():
        yield _UNTRACED
        return
    names = _names(provider)
    with span(f"{names.operation} {provider.model}", SpanType.CLIENT) as work:
        if work.is_recording:
            work.set(
                _asked(names, provider, request, site, method)
                | _server(provider)
                | {"evalqueue.call.try": try_number}
            )
        yield TracedCall(work)


def note_earlier_answer(
    provider: Provider,
    request: CompletionRequest,
    site: "CallSite",
    method: str,
    completion: Completion,
    *,
    source: str,
) -> None:
    """The span of a call that was not made, as its answer is on record. It used no tokens.

    Args:
        source: of the answer: `replayed`, from this run; `reused`, from another one.
    """
    if not is_on():
        return
    names = _names(provider)
    with span(f"{names.operation} {provider.model}") as work:
        if work.is_recording:
            work.set(
                _asked(names, provider, request, site, method)
                | {
                    "gen_ai.response.model": completion.model,
                    "evalqueue.call.answer": source,
                    **_answer(completion),
                }
            )


def _names(provider: Provider) -> ConventionalNames:
    found = getattr(provider, "conventional_names", None)
    return (
        found if isinstance(found, ConventionalNames) else ConventionalNames(provider=provider.name)
    )


def _asked(
    names: ConventionalNames,
    provider: Provider,
    request: CompletionRequest,
    site: "CallSite",
    method: str,
) -> dict[str, str | int | float | bool | None]:
    return {
        "gen_ai.operation.name": names.operation,
        "gen_ai.provider.name": names.provider,
        "gen_ai.request.model": provider.model,
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.max_tokens": request.max_output_tokens,
        "gen_ai.output.type": "json",
        "gen_ai.conversation.id": site.thread_id,
        "evalqueue.evaluator": site.evaluator,
        "evalqueue.turn": site.turn,
        "evalqueue.call.method": method,
        **_question(request),
    }


def _server(provider: Provider) -> dict[str, str | int | float | bool | None]:
    try:
        address = urlsplit(credential_of(provider).endpoint)
        host, port = address.hostname, address.port
    except ValueError:  # it is no address
        return {}
    return {"server.address": host, "server.port": port}


def _question(request: CompletionRequest) -> Attributes:
    if not _captures():
        return {}
    return {
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": request.system}]),
        "gen_ai.input.messages": json.dumps(
            [{"role": "user", "parts": [{"type": "text", "content": request.prompt}]}]
        ),
    }


def _answer(completion: Completion) -> Attributes:
    if not _captures():
        return {}
    parts = [{"type": "text", "content": completion.text}]
    message = {"role": "assistant", "parts": parts, "finish_reason": "stop"}
    return {"gen_ai.output.messages": json.dumps([message])}


def _captures() -> bool:
    return os.environ.get(CAPTURE, "").strip().upper() in _CAPTURING
