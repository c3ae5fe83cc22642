"""What an operation of the API is, and how a request becomes a typed value and back.

One declaration holds method, path, the model of what is asked and the type of what is told. The
route is made from it here, and the document in `openapi`.
"""

import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NoReturn, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from evalqueue import codec
from evalqueue.client import Client
from evalqueue.errors import Problem
from evalqueue.http.callers import Call, Right, caller_of
from evalqueue.http.events.broadcaster import Broadcaster
from evalqueue.http.uploads import InvalidRequest, is_form, received

MAX_DEPTH = 100
"""Levels of nesting in a body: far below what any step behind us can walk."""

Endpoint = Callable[[Request], Awaitable[Response]]

Asked = TypeVar("Asked", bound=BaseModel)
Told = TypeVar("Told")
AnyModel = TypeVar("AnyModel", bound=BaseModel)


class Nothing(BaseModel):
    """An operation that asks for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Generic[Told]):
    """An answer with another status of success than the usual one."""

    told: Told
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[Asked, Told]):
    """One thing the API does."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    tag: str
    summary: str
    asks: type[Asked]
    """Filled from the path and the query; from the JSON body where `in_body`."""
    tells: TypeAdapter[Told]
    answer: Callable[[Call, Any], Awaitable[Told | Reply[Told] | Response]]
    """Takes what `asks` or `form` made of the request; tells, or sees to its reply itself."""
    media_type: str = "application/json"
    """Of the reply."""
    events: Mapping[str, type[BaseModel]] = field(default_factory=dict[str, type[BaseModel]])
    """Of a reply that is a stream of events: the data of each kind. `tells` says nothing then."""
    in_body: bool = False
    form: type[BaseModel] | None = None
    """What is asked where it comes as multipart/form-data, with a file that is on disk by then: an
    `Upload`. Such bodies may be as large as a dataset."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Fields of `asks` that come from a header: their names, and the headers'."""
    needs: Right | None = None
    """What a caller has to be allowed; None: to read where the method is GET, else to submit."""
    status: int = 200
    also: tuple[int, ...] = ()
    """Other statuses of success: of answers that are a `Reply`."""
    errors: tuple[int, ...] = ()
    """Its own; those that every operation with an input or a token can have are understood."""
    says_more: Mapping[int, type[BaseModel]] = field(default_factory=dict[int, type[BaseModel]])
    """Errors whose reply has more in it than `detail`."""

    @property
    def name(self) -> str:
        return self.answer.__name__

    @property
    def right(self) -> Right:
        return self.needs or (Right.READ if self.method == "GET" else Right.SUBMIT)

    def endpoint(self, client: Client, broadcaster: Broadcaster) -> Endpoint:
        """The operation as Starlette calls it."""

        async def endpoint(request: Request) -> Response:
            call = Call(
                client=client,
                caller=caller_of(request.scope),
                broadcaster=broadcaster,
                scope=request.scope,
            )
            call.must_have(self.right)
            async with self._asked(request, client) as asked:
                answer = await self.answer(call, asked)
            if isinstance(answer, Response):
                return answer
            told = _reply(answer, self.status)
            reply = Response(
                self.tells.dump_json(told.told),
                status_code=told.status,
                media_type=self.media_type,
            )
            for cookie in call.cookies:
                reply.headers.append("Set-Cookie", cookie)
            return reply

        return endpoint

    @asynccontextmanager
    async def _asked(self, request: Request, client: Client) -> AsyncGenerator[BaseModel]:
        if self.form is None:
            yield await self._read(request)
        elif is_form(request.scope):
            async with received(request, client.settings.max_dataset_bytes) as given:
                yield _model(self.form, given | request.path_params, lambda _name: "body", {})
        elif self.in_body:
            yield await self._read(request)
        else:
            raise HTTPException(415, "The body must be sent as multipart/form-data")

    async def _read(self, request: Request) -> Asked:
        path = request.path_params
        if self.in_body:
            given, place = await _body(request), "body"
        else:
            # A blank value is as good as none: that is how forms send it.
            given = {name: value for name, value in request.query_params.items() if value}
            place = "query"
        if smuggled := [name for name in self.headers if name in given]:
            raise InvalidRequest(
                [
                    Problem(loc=(place, name), msg=f"Comes as a header: {self.headers[name]}")
                    for name in smuggled
                ]
            )
        sent = {
            name: ", ".join(request.headers.getlist(header))
            for name, header in self.headers.items()
            if header in request.headers
        }
        places = dict.fromkeys(sent, "header") | dict.fromkeys(path, "path")
        return _model(
            self.asks,
            given | sent | path,
            lambda name: places.get(str(name), place),
            self.headers,
        )


def _reply(answer: Told | Reply[Told], status: int) -> Reply[Told]:
    if isinstance(answer, Reply):
        return cast("Reply[Told]", answer)  # isinstance can't say of what
    return Reply(told=answer, status=status)


AnyOperation = Operation[Any, Any]  # a list of them mixes what is asked and told


def routes(
    operations: Sequence[AnyOperation], client: Client, broadcaster: Broadcaster
) -> list[Route]:
    """One route a path, so that a wrong method is told all the right ones."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation.endpoint(
            client, broadcaster
        )
    return [
        _Written(path, _by_method(endpoints), methods=list(endpoints))
        for path, endpoints in sorted(by_path.items(), key=lambda each: "{" in each[0])
    ]


class _Written(Route):
    """A path that is written out is no other's id, whatever the method: those come first."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        is_wrong_method = match is Match.PARTIAL and not self.param_convertors
        return (Match.FULL if is_wrong_method else match), found


def _by_method(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await endpoints[method](request)

    return endpoint


def _model(
    model: type[AnyModel],
    given: Mapping[str, Any],
    place: Callable[[str | int], str],
    headers: Mapping[str, str],
) -> AnyModel:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _invalid(error, place, headers) from error


def _invalid(
    error: ValidationError, place: Callable[[str | int], str], headers: Mapping[str, str]
) -> InvalidRequest:
    """What is wrong, by the names that the caller knows."""
    return InvalidRequest(
        [
            Problem(
                loc=_located(found["loc"], place, headers),
                msg=found["msg"].removeprefix("Value error, "),
                type=found["type"],
            )
            for found in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    )


def _located(
    loc: tuple[int | str, ...], place: Callable[[str | int], str], headers: Mapping[str, str]
) -> tuple[int | str, ...]:
    if not loc:  # it is about the whole
        return (place(""),)
    return (place(loc[0]), headers.get(str(loc[0]), loc[0]), *loc[1:])


async def _body(request: Request) -> dict[str, Any]:
    body = await request.body()
    if not body:
        raise InvalidRequest.of_body("A JSON object is needed", "missing")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "The body must be JSON, sent with Content-Type: application/json")
    value = _json(body)
    if not isinstance(value, dict):
        raise InvalidRequest.of_body("Must be a JSON object", "dict_type")
    return value  # pyright: ignore[reportUnknownVariableType]  the keys of a JSON object are text


def _json(body: bytes) -> object:
    try:
        text = body.decode("utf-8-sig")
        value: object = json.loads(text, parse_float=_finite, parse_constant=_refuse_constant)
    except ValueError as error:  # bad UTF-8, bad JSON, a number that can't be kept
        raise InvalidRequest.of_body(f"This is not JSON: {error}", "json_invalid") from error
    except RecursionError as error:
        raise _too_deep() from error
    if _depth_exceeds(value, MAX_DEPTH):
        raise _too_deep()
    # Only an escape can bring NUL or half a surrogate pair this far.
    return codec.clean_json(value) if "\\u" in text else value


def _too_deep() -> InvalidRequest:
    return InvalidRequest.of_body(f"Nested deeper than {MAX_DEPTH} levels", "json_too_deep")


def _depth_exceeds(value: object, limit: int) -> bool:
    level: list[dict[str, Any] | list[Any]] = [[value]]
    for _ in range(limit + 1):
        level = [
            child
            for each in level
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
