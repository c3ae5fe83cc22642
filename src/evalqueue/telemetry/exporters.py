"""Sending spans to a collector, from processes that are ours, as the `OTEL_…` variables say.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import logging
import os
from importlib.metadata import EntryPoint, entry_points

EXTRA = "install evalqueue with its extra otel"
_NOTHING = "none"
_ASKING = (
    "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER",
)  # fmt: skip
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
"""Protocols of OTLP, and the exporters of OpenTelemetry's packages that speak them."""

logger = logging.getLogger(__name__)


def start(service_name: str) -> None:
    """Send this process's spans from now on, if the environment asks for it.

    A provider that is there (of `opentelemetry-instrument`, say) stays.

    Args:
        service_name: unless the environment names the service.
    """
    if not _is_asked_for():
        return
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning("OTEL_… is set, but no traces are sent: %s", EXTRA)
        return
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    found = _exporters()
    if not found:
        return
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service_name}))
    provider = TracerProvider(resource=resource)
    for exporter in found:
        provider.add_span_processor(BatchSpanProcessor(exporter.load()()))
    trace.set_tracer_provider(provider)


def _is_asked_for() -> bool:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return any(os.environ.get(name) for name in _ASKING)


def _exporters() -> list[EntryPoint]:
    """The exporters that the environment names, of those that are installed."""
    wanted = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    installed = {each.name: each for each in entry_points(group="opentelemetry_traces_exporter")}
    found = list[EntryPoint]()
    for name in names:
        if name == _NOTHING:
            continue
        exporter = installed.get(_otlp() if name == "otlp" else name)
        if exporter is None:
            logger.warning("The exporter of traces %r is not installed", name)
        else:
            found.append(exporter)
    return found


def _otlp() -> str:
    protocol = (
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    return _PROTOCOLS.get(protocol, protocol)
