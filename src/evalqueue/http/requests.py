"""Decodes requests: path, query, headers and body become a pydantic model."""

import asyncio
import json
import math
from collections.abc import Callable, Collection, Mapping
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from evalqueue import codec
from evalqueue.errors import Problem
from evalqueue.http.uploads import InvalidRequest
from evalqueue.problems import explained, has_boolean, numbers_of

MAX_VALUES = 100_000
"""Values in a body. Each may be invalid, and an error about one takes much more memory than it."""
LARGE_BODY_BYTES = 256 * 1024  # decoded in a thread

AnyModel = TypeVar("AnyModel", bound=BaseModel)
Loc = tuple[int | str, ...]


def refuse_unknown(http_request: Request, known: Collection[str]) -> None:
    """Refuse parameters of the query that would have no effect: a misspelt filter would let
    everything through.

    Raises:
        InvalidRequest: with every one of them.
    """
    given = http_request.query_params
    there = f"There are: {', '.join(known)}" if known else "There are none here"
    refused = [
        Problem(loc=("query", name), msg=f"Unknown parameter. {there}", type="extra_forbidden")
        for name in given
        if name not in known
    ]
    refused += [
        Problem(loc=("query", name), msg="Given more than once", type="given_twice")
        for name in given
        if name in known and len(given.getlist(name)) > 1
    ]
    if refused:
        raise InvalidRequest(refused)


async def decode(
    http_request: Request, model: type[AnyModel], *, in_body: bool, headers: Mapping[str, str]
) -> AnyModel:
    """The request as a model.

    Args:
        in_body: whether the fields come in a JSON body; otherwise in the query.
        headers: fields that come in headers: field name → header name.

    Raises:
        InvalidRequest: with every invalid field.
        HTTPException: 415, if the body is not sent as JSON.
    """
    if in_body:
        values, place = await _body(http_request), "body"
    else:
        # A blank value counts as absent, because that is how forms send it.
        values = {name: value for name, value in http_request.query_params.items() if value}
        place = "query"
    if misplaced := [name for name in headers if name in values]:
        raise InvalidRequest(
            [
                Problem(loc=(place, name), msg=f"Comes as a header: {headers[name]}")
                for name in misplaced
            ]
        )
    from_headers = {
        name: ", ".join(http_request.headers.getlist(header))
        for name, header in headers.items()
        if header in http_request.headers
    }
    from_path = http_request.path_params
    places = dict.fromkeys(from_headers, "header") | dict.fromkeys(from_path, "path")

    if in_body:
        _refuse_booleans(model, values)

    def locate(loc: Loc) -> Loc:
        if not loc:  # the error concerns the whole request
            return (place,)
        name = str(loc[0])
        return (places.get(name, place), headers.get(name, loc[0]), *loc[1:])

    return _validate(model, values | from_headers | from_path, locate)


def decode_form(model: type[AnyModel], fields: Mapping[str, object]) -> AnyModel:
    """The fields of a form as a model.

    Raises:
        InvalidRequest: with every invalid field.
    """
    return _validate(model, fields, lambda loc: ("body", *loc))


def _refuse_booleans(model: type[BaseModel], values: Mapping[str, object]) -> None:
    """Refuse true and false in the place of numbers."""
    wrong = [name for name in numbers_of(model) & values.keys() if has_boolean(values[name])]
    if wrong:
        msg = "Write a number, not true or false"
        raise InvalidRequest([Problem(loc=("body", name), msg=msg) for name in sorted(wrong)])


def _validate(
    model: type[AnyModel], values: Mapping[str, object], locate: Callable[[Loc], Loc]
) -> AnyModel:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InvalidRequest(
            [
                Problem(
                    loc=locate(detail["loc"]),
                    msg=detail["msg"],
                    type=detail["type"],
                )
                for detail in explained(error)
            ]
        ) from error


async def _body(http_request: Request) -> dict[str, object]:
    body = await http_request.body()
    if not body:
        raise InvalidRequest.of_body("A JSON object is needed", "missing")
    media_type = http_request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "The body must be JSON, sent with Content-Type: application/json")
    large = len(body) > LARGE_BODY_BYTES
    value = await asyncio.to_thread(_json, body) if large else _json(body)
    if not isinstance(value, dict):
        raise InvalidRequest.of_body("Must be a JSON object", "dict_type")
    return value  # pyright: ignore[reportUnknownVariableType]  keys of a JSON object are strings


def _json(body: bytes) -> object:
    try:
        text = body.decode("utf-8-sig")
        value: object = json.loads(
            text,
            parse_float=_finite,
            parse_constant=_refuse_constant,
            object_pairs_hook=codec.once,
        )
    except codec.RepeatedKey as error:
        raise InvalidRequest.of_body(str(error), "json_repeated_key") from error
    except ValueError as error:  # invalid UTF-8, invalid JSON, a number that can't be stored
        raise InvalidRequest.of_body(f"This is not JSON: {error}", "json_invalid") from error
    except RecursionError as error:
        raise _too_deep() from error
    if codec.depth_exceeds(value, codec.MAX_DEPTH):
        raise _too_deep()
    if len(body) > MAX_VALUES and codec.count_exceeds(value, MAX_VALUES):
        raise InvalidRequest.of_body(f"More than {MAX_VALUES} values", "json_too_many_values")
    # NUL and surrogates can only come from an escape: others are refused above.
    return codec.clean_json(value) if "\\u" in text else value


def _too_deep() -> InvalidRequest:
    return InvalidRequest.of_body(f"Nested deeper than {codec.MAX_DEPTH} levels", "json_too_deep")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
