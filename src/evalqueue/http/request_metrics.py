"""What the API does, as metrics: requests, watchers, its process, and what the database says."""

import time
from collections.abc import Callable, Sequence

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evalqueue.client import Client
from evalqueue.metrics.fleet import FleetMetrics
from evalqueue.metrics.process import ProcessMetrics
from evalqueue.metrics.registry import OTHER, Metrics
from evalqueue.postgres.database import Database

METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS"})
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ApiMetrics(Metrics):
    """The metrics of one application.

    Args:
        watchers: how many event streams are open.
    """

    def __init__(self, watchers: Callable[[], int]) -> None:
        super().__init__()
        self.process = ProcessMetrics(self)
        self.fleet = FleetMetrics(self)
        self._requests = self.counter(
            "evalqueue_http_requests_total",
            "Requests by the template of their route; other: refused before it was looked for.",
            labels=("route", "method", "status"),
        )
        self._response = self.histogram(
            "evalqueue_http_response_seconds",
            "From a request to the beginning of its response.",
            buckets=_BUCKETS,
            labels=("route", "method"),
        )
        self.gauge("evalqueue_watchers", "Event streams that are open.").set_function(watchers)

    async def refresh(self, client: Client) -> None:
        """Read what is read from the database; takes a few seconds at most."""

        async def opened() -> Database:
            self.process.database = database = await client.database()
            self.process.listener = await client.listener()
            return database

        await self.fleet.refresh(opened)

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """A response began."""
        route = scope.get("route")
        path = route.path if isinstance(route, Route) else OTHER
        method = scope["method"] if scope["method"] in METHODS else OTHER
        self._requests.of(path, method, f"{status // 100}xx").inc()
        self._response.of(path, method).observe(seconds)


class ObserveRequests:
    """Reports requests when their response begins.

    Args:
        observers: called with the scope of each, the status and the seconds until then.
    """

    def __init__(
        self, app: ASGIApp, *, observers: Sequence[Callable[[Scope, int, float], None]]
    ) -> None:
        self._app = app
        self._observers = observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        has_begun = False

        def report(status: int) -> None:
            nonlocal has_begun
            has_begun = True
            seconds = time.perf_counter() - began
            for observe in self._observers:
                observe(scope, status, seconds)

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                report(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception:
            if not has_begun:
                report(500)  # the response of `internal_error`
            raise
