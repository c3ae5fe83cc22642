"""Handlers: which async function does which job type. Bound without an app; `daemon` attaches."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ConfigDict

from evalqueue.context import JobContext
from evalqueue.jobtypes import JobParams, JobTypes
from evalqueue.metrics.registry import Metrics

Params = TypeVar("Params", bound=JobParams)
Result = Mapping[str, Any] | None
HandlerFunction = Callable[[JobContext, Params], Awaitable[Result]]
SimpleHandler = Callable[[Any, dict[str, Any]], Awaitable[Result]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A job type and the function that does it."""

    params: type[JobParams]
    function: HandlerFunction[Any]


class Handlers:
    """A set of handlers.

    handlers = Handlers()

    @handlers.handles(Greet)
    async def greet(context: JobContext, params: Greet) -> dict[str, Any]: ...
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self.metrics = Metrics()
        """What they count; their worker exposes it beside its own metrics."""

    def handles(
        self, params: type[Params]
    ) -> Callable[[HandlerFunction[Params]], HandlerFunction[Params]]:
        """Bind a function to the job type of its params."""

        def bind(function: HandlerFunction[Params]) -> HandlerFunction[Params]:
            self._add(Handler(params=params, function=function))
            return function

        return bind

    def when_closing(self, close: Callable[[], Awaitable[None]]) -> None:
        """Call this when the worker has stopped: for the long-lived things that handlers share."""
        self._closing.append(close)

    def include(self, others: "Handlers") -> None:
        """Take in all of another set."""
        for handler in others._handlers.values():
            self._add(handler)
        self._closing.extend(others._closing)
        self.metrics.include(others.metrics)

    def __getitem__(self, job_type: str) -> Handler:
        return self._handlers[job_type]

    @property
    def job_types(self) -> JobTypes:
        return JobTypes(handler.params for handler in self._handlers.values())

    async def close(self) -> None:
        for close in self._closing:
            await close()

    def _add(self, handler: Handler) -> None:
        name = handler.params.job_type
        if name in self._handlers:
            raise TypeError(f"Two handlers for the job type {name!r}")
        self._handlers[name] = handler


class FreeFormParams(JobParams):
    """Params of job types that have no model: any object."""

    model_config = ConfigDict(extra="allow")


registered = Handlers()
"""What `register_job_handler` has bound in this process."""


def register_job_handler(job_type: str) -> Callable[[SimpleHandler], SimpleHandler]:
    """Bind `async def handler(job_id, params: dict) -> dict` to a job type, without a params model.

    The daemon takes in what was registered by the modules that `EVALQUEUE_IMPORTS` names.
    """

    class Params(FreeFormParams, job_type=job_type):
        pass

    def bind(function: SimpleHandler) -> SimpleHandler:
        async def handle(context: JobContext, params: Params) -> Result:
            return await function(context.job.id, params.model_dump(mode="json"))

        registered.handles(Params)(handle)
        return function

    return bind
