"""What an operation of the API is, and how a request becomes a typed value and back.

One declaration holds method, path, the model of what is asked and the type of what is told. The
route is made from it here, and the document in `openapi`.
"""

import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NoReturn, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evalqueue import codec
from evalqueue.client import Client
from evalqueue.errors import Problem
from evalqueue.http.callers import Call, Right, caller_of

MAX_DEPTH = 100
"""Levels of nesting in a body: far below what any step behind us can walk."""

Endpoint = Callable[[Request], Awaitable[Response]]

Asked = TypeVar("Asked", bound=BaseModel)
Told = TypeVar("Told")


class InvalidRequest(Exception):
    """Something in the request is wrong; all of it is named at once, with its full path."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.msg for problem in problems))
        self.problems = tuple(problems)

    @classmethod
    def of_body(cls, msg: str, kind: str) -> "InvalidRequest":
        return cls([Problem(loc=("body",), msg=msg, type=kind)])


class Nothing(BaseModel):
    """An operation that asks for nothing."""


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
    answer: Callable[[Call, Asked], Awaitable[Told]]
    in_body: bool = False
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Fields of `asks` that come from a header: their names, and the headers'."""
    needs: Right | None = None
    """What a caller has to be allowed; None: to read where the method is GET, else to submit."""
    status: int = 200
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

    def endpoint(self, client: Client) -> Endpoint:
        """The operation as Starlette calls it."""

        async def endpoint(request: Request) -> Response:
            call = Call(client=client, caller=caller_of(request.scope))
            if not call.caller.right.covers(self.right):
                raise HTTPException(403, f"This needs the right to {self.right}")
            told = await self.answer(call, await self._read(request))
            return Response(
                self.tells.dump_json(told), status_code=self.status, media_type="application/json"
            )

        return endpoint

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
        try:
            return self.asks.model_validate(given | sent | path)
        except ValidationError as error:
            raise _invalid(
                error, lambda name: places.get(str(name), place), self.headers
            ) from error


AnyOperation = Operation[Any, Any]  # a list of them mixes what is asked and told


def routes(operations: Sequence[AnyOperation], client: Client) -> list[Route]:
    """One route a path, so that a wrong method is told all the right ones."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation.endpoint(client)
    return [
        Route(path, _by_method(endpoints), methods=list(endpoints))
        for path, endpoints in by_path.items()
    ]


def _by_method(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await endpoints[method](request)

    return endpoint


def _invalid(
    error: ValidationError, place: Callable[[str | int], str], headers: Mapping[str, str]
) -> InvalidRequest:
    """What is wrong, by the names that the caller knows."""
    return InvalidRequest(
        [
            Problem(
                loc=(place(found["loc"][0]), *_named(found["loc"], headers)),
                msg=found["msg"],
                type=found["type"],
            )
            for found in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    )


def _named(loc: tuple[int | str, ...], headers: Mapping[str, str]) -> tuple[int | str, ...]:
    return (headers.get(str(loc[0]), loc[0]), *loc[1:])


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
