"""Spans of OpenTelemetry, in processes where a provider of traces is set. Else nothing happens.

A provider can only be set by code that has imported OpenTelemetry's API, so it is not imported here
before that. Without one, a span costs about a microsecond.

A span gets no text of an exception: it may quote a conversation.
"""

import asyncio
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanContext, Tracer, TracerProvider

API = "opentelemetry.trace"

Attributes = Mapping[str, str | int | float | bool | None]
"""None: not known, and left out."""

_continued: ContextVar[str | None] = ContextVar("evalqueue_continued_trace", default=None)


class SpanType(StrEnum):
    """The kinds of spans, by OpenTelemetry's names."""

    INTERNAL = "INTERNAL"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class TracedWork:
    """A piece of work, and its span if it has one."""

    __slots__ = ("_is_failed", "_span")

    def __init__(self, span: "Span | None") -> None:
        self._span = span
        self._is_failed = False

    @property
    def is_recording(self) -> bool:
        """Whether anything is done with its attributes."""
        return self._span is not None and self._span.is_recording()

    @property
    def traceparent(self) -> str | None:
        """What continues its trace elsewhere, in the form of W3C Trace Context.

        Without a span: the trace that `continued` names.
        """
        if self._span is None:
            return _continued.get()
        found = self._span.get_span_context()
        return _traceparent(found) if found.is_valid else _continued.get()

    def set(self, attributes: Attributes) -> None:
        if self._span is not None:
            self._span.set_attributes({k: v for k, v in attributes.items() if v is not None})

    def fail(self, kind: str) -> None:
        """It failed.

        Args:
            kind: one of few words, never the text of an error.
        """
        if self._span is not None:
            from opentelemetry.trace import StatusCode

            self._is_failed = True
            self._span.set_attribute("error.type", kind)
            self._span.set_status(StatusCode.ERROR, kind)

    def fail_by(self, error: BaseException) -> None:
        """An error ended it. The first reason counts; a cancellation is no failure."""
        if not (self._is_failed or isinstance(error, asyncio.CancelledError)):
            self.fail(type(error).__qualname__)


UNTRACED = TracedWork(None)


def is_on() -> bool:
    """Whether this process has a provider of traces."""
    return _tracer() is not None


@contextmanager
def span(
    name: str, kind: SpanType = SpanType.INTERNAL, attributes: Attributes | None = None
) -> Generator[TracedWork]:
    """A span within the current one; without one, within the trace that `continued` names."""
    if (tracer := _tracer()) is None:
        yield UNTRACED
        return
    from opentelemetry import trace

    outside = None
    if not trace.get_current_span().get_span_context().is_valid:
        outside = _context_of(_continued.get())
    with _within(tracer, name, kind, attributes, outside) as work:
        yield work


@contextmanager
def span_of(
    traceparent: str | None, name: str, kind: SpanType, attributes: Attributes
) -> Generator[TracedWork]:
    """A span within a trace of elsewhere, whatever span is current here. None: a new trace."""
    if (tracer := _tracer()) is None:
        yield UNTRACED
        return
    with _within(tracer, name, kind, attributes, _context_of(traceparent)) as work:
        yield work


@contextmanager
def continued(traceparent: str | None) -> Generator[None]:
    """What is submitted in this block belongs to a trace of elsewhere, unless a span is current.

    Args:
        traceparent: a header of W3C Trace Context. What is malformed is ignored.
    """
    token = _continued.set(traceparent)
    try:
        yield
    finally:
        _continued.reset(token)


def current_ids() -> tuple[str, str] | None:
    """The current trace and span, hexadecimal. None: there is none."""
    if API not in sys.modules:
        return None
    from opentelemetry import trace

    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        return None
    return f"{found.trace_id:032x}", f"{found.span_id:016x}"


def _tracer() -> "Tracer | None":
    """None: this process has no provider of traces."""
    if API not in sys.modules:
        return None
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    return _tracer_of(provider)


@lru_cache(maxsize=1)
def _tracer_of(provider: "TracerProvider") -> "Tracer":
    return provider.get_tracer("evalqueue", version("evalqueue"))


@contextmanager
def _within(
    tracer: "Tracer",
    name: str,
    kind: SpanType,
    attributes: Attributes | None,
    outside: "Context | None",
) -> Generator[TracedWork]:
    from opentelemetry.trace import SpanKind

    known = {k: v for k, v in (attributes or {}).items() if v is not None}
    with tracer.start_as_current_span(
        name,
        context=outside,
        kind=SpanKind[kind],
        attributes=known,
        record_exception=False,
        set_status_on_exception=False,
    ) as started:
        work = TracedWork(started)
        try:
            yield work
        except BaseException as error:
            work.fail_by(error)
            raise


def _context_of(traceparent: str | None) -> "Context":
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    nothing = Context()
    if traceparent is None:
        return nothing
    carrier = {"traceparent": traceparent}
    return TraceContextTextMapPropagator().extract(carrier, context=nothing)


def _traceparent(found: "SpanContext") -> str:
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"
