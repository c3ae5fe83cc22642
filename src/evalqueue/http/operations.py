"""Operations of the API, each declared once.

`Operation` holds method, path and handler; the models of request and response are the handler's
annotations. `routes` makes Starlette's routes from operations, `openapi` makes the document.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from evalqueue.client import Client
from evalqueue.http.callers import RequestContext, Right, SearchShares, caller_of
from evalqueue.http.events.broadcaster import Broadcaster
from evalqueue.http.requests import decode, decode_form, refuse_unknown
from evalqueue.http.uploads import is_form, receive_form
from evalqueue.telemetry.actors import Actor, Door, acting
from evalqueue.telemetry.spans import continued

Body = TypeVar("Body")
Endpoint = Callable[[Request], Awaitable[Response]]
Handler = Callable[[RequestContext, Any], Awaitable[Any]]


class EmptyRequest(BaseModel):
    """A request without parameters and body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithStatus(Generic[Body]):
    """A response with another status of success than the operation's usual one."""

    body: Body
    status: int


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of the API: a method of a path."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    tag: str
    summary: str
    handler: Handler
    """`async def operation_id(context, request: Model) -> Model`. Its name is the operation's id.
    It may return `WithStatus[Model]`, or a `Response` that is sent as it is."""
    in_body: bool = False
    """Whether the request is a JSON body; otherwise it is read from path and query."""
    form: type[BaseModel] | None = None
    """The request's model if it comes as multipart/form-data, with a file (`Upload`) that is on
    disk by then. Such bodies may be as large as a dataset."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Fields of the request that come from headers: field name → header name."""
    required_right: Right | None = None
    """The right that a caller needs; None: to read if the method is GET, else to submit."""
    status: int = 200
    other_statuses: tuple[int, ...] = ()
    """Further statuses of success, for handlers that return `WithStatus`."""
    errors: tuple[int, ...] = ()
    """Statuses of its own errors. Those of invalid requests and missing rights are implied."""
    error_models: Mapping[int, type[BaseModel]] = field(default_factory=dict[int, type[BaseModel]])
    """Models of error responses that have more fields than `detail`."""
    events: Mapping[str, type[BaseModel]] = field(default_factory=dict[str, type[BaseModel]])
    """The data of each kind of event, if the response is a stream of events."""
    media_type: str = "application/json"
    """Of the response."""
    ignores_query: bool = False
    """Whether parameters of the query are ignored, as load balancers add some; else unknown ones
    are refused."""

    @property
    def name(self) -> str:
        """The operation's id."""
        return self.handler.__name__

    @property
    def right(self) -> Right:
        return self.required_right or (Right.READ if self.method == "GET" else Right.SUBMIT)

    @cached_property
    def request(self) -> type[BaseModel]:
        """The model of the request; where there is a form besides a JSON body, of the body."""
        annotation = get_type_hints(self.handler)["request"]
        alternatives = get_args(annotation) or (annotation,)
        return next((each for each in alternatives if each is not self.form), alternatives[0])

    @cached_property
    def query(self) -> Collection[str]:
        """The names of the parameters that the query may have."""
        if self.in_body or self.form is not None:
            return ()
        names = (each.alias or name for name, each in self.request.model_fields.items())
        return tuple(
            name for name in names if name not in self.headers and f"{{{name}}}" not in self.path
        )

    @cached_property
    def response(self) -> TypeAdapter[Any]:
        """The type of a response with a status of success."""
        annotation = get_type_hints(self.handler)["return"]
        if get_origin(annotation) is WithStatus:
            (annotation,) = get_args(annotation)
        return TypeAdapter(Any if annotation is Response else annotation)

    def endpoint(
        self, client: Client, broadcaster: Broadcaster, searches: SearchShares
    ) -> Endpoint:
        """The operation as an endpoint of Starlette."""
        response_type = self.response  # here, so that a wrong annotation fails at start

        async def endpoint(http_request: Request) -> Response:
            context = RequestContext(
                client=client,
                caller=caller_of(http_request.scope),
                broadcaster=broadcaster,
                searches=searches,
                scope=http_request.scope,
            )
            context.require(self.right)
            async with self._decoded(http_request, client) as request:
                actor = Actor(door=Door.HTTP, name=context.caller.name)
                with continued(_traceparent(http_request)), acting(actor):
                    result = await self.handler(context, request)
            if isinstance(result, Response):
                return result
            if not isinstance(result, WithStatus):
                result = WithStatus(body=result, status=self.status)
            response = Response(
                response_type.dump_json(result.body),
                status_code=result.status,
                media_type=self.media_type,
            )
            for cookie in context.cookies:
                response.headers.append("Set-Cookie", cookie)
            return response

        return endpoint

    @asynccontextmanager
    async def _decoded(self, http_request: Request, client: Client) -> AsyncGenerator[BaseModel]:
        if not self.ignores_query:
            refuse_unknown(http_request, self.query)
        if self.form is not None and is_form(http_request.scope):
            async with receive_form(http_request, client.settings.max_dataset_bytes) as fields:
                yield decode_form(self.form, fields | http_request.path_params)
        elif self.form is None or self.in_body:
            yield await decode(
                http_request, self.request, in_body=self.in_body, headers=self.headers
            )
        else:
            raise HTTPException(415, "The body must be sent as multipart/form-data")


def _traceparent(http_request: Request) -> str | None:
    """The trace that the caller is in. More than one header is none."""
    found = http_request.headers.getlist("traceparent")
    return found[0] if len(found) == 1 else None


def routes(
    operations: Sequence[Operation], client: Client, broadcaster: Broadcaster
) -> list[Route]:
    """One route for each path, so that 405 names all allowed methods."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    searches = SearchShares()
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation.endpoint(
            client, broadcaster, searches
        )
    return [
        _ExactRoute(path, _by_method(endpoints), methods=list(endpoints))
        for path, endpoints in sorted(by_path.items(), key=lambda each: "{" in each[0])
    ]


class _ExactRoute(Route):
    """A route whose path, if it has no parameters, is never taken for a parameter of another one,
    even if the method is wrong."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        is_wrong_method = match is Match.PARTIAL and not self.param_convertors
        return (Match.FULL if is_wrong_method else match), child_scope


def _by_method(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    async def endpoint(http_request: Request) -> Response:
        method = "GET" if http_request.method == "HEAD" else http_request.method
        return await endpoints[method](http_request)

    return endpoint
