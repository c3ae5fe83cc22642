"""The access log: one record for each request, when its response begins."""

import logging
import re

from starlette.routing import Route
from starlette.types import Scope

from evalqueue.http.callers import address_of, caller_of, is_identified
from evalqueue.http.guards.root_path import path_of

SEGMENT_MAX = 30  # characters
_QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/assets/{name:path}"})
"""Routes that probes, scrapers and the page ask for all the time."""
_ID = re.compile(r"[0-9]{1,20}|[0-9a-fA-F-]{8,64}")
_PARAMETER = re.compile(r"\{(\w+)(:\w+)?\}")

logger = logging.getLogger(__name__)


def log_request(scope: Scope, status: int, seconds: float) -> None:
    """Write the record of a request: at INFO, or at DEBUG where it says little."""
    route = scope.get("route")
    template = route.path if isinstance(route, Route) else None
    level = logging.DEBUG if template in _QUIET else logging.INFO
    if not logger.isEnabledFor(level):
        return
    method, path, milliseconds = scope["method"], _path(scope, template), round(seconds * 1000, 1)
    owner = caller_of(scope).name if is_identified(scope) else None
    address = address_of(scope)
    logger.log(
        level,
        "%s %s %d in %.1f ms for %s from %s",
        method, path, status, milliseconds, owner or "an unknown caller", address,
        extra={
            "method": method,
            "path": path,
            "status": status,
            "duration_ms": milliseconds,
            "owner": owner,
            "address": address,
        },
    )  # fmt: skip


def _path(scope: Scope, template: str | None) -> str:
    """Without the query. What stands in a parameter's place is shown if it is an id, else the
    parameter's name: a path may have a text of a conversation, as any other value of a caller."""
    if template is None:
        # Of an unknown path, only how it begins: the rest may be a secret in the wrong place.
        first, _, rest = path_of(scope)[1:].partition("/")
        return f"/{first[:SEGMENT_MAX]}" + ("/…" if rest or first[SEGMENT_MAX:] else "")
    given = scope.get("path_params", {})

    def shown(parameter: re.Match[str]) -> str:
        value = str(given.get(parameter[1], ""))
        return value if _ID.fullmatch(value) else f"{{{parameter[1]}}}"

    return _PARAMETER.sub(shown, template)
