"""A judge's answer: the schema it is asked for, the menus it chooses from, the reading of it.

An answer is a pydantic model without defaults. The JSON schema sent to the vendor is built from
it inside the subset that every vendor's strict mode takes; what the schema can't say there
(ranges, labels known only at run time) is checked when the answer is read. Nothing is guessed:
what doesn't fit is `InvalidAnswer`, and the judge decides what to do about that.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import CoreSchema, core_schema

from evalqueue.evaluators.judging import reading
from evalqueue.evaluators.providers.provider import AnswerSchema

PARSER_VERSION = "3"
"""Part of every evaluator's version: raise it when `read` or `strict_schema` changes its mind."""

Menus = Mapping[str, tuple[str, ...]]
"""Labels a judge may choose from, by the menu's name."""

_SHOWN_ERRORS = 5
_MENU = "x-menu"


class Answer(BaseModel):
    """The root of every answer: immutable, no NaN; unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class InvalidAnswer(ValueError):
    """The text is not the answer that was asked for; says why, in words a judge can act on."""


@dataclass(frozen=True, slots=True)
class Menu:
    """Marks a string field that takes its values from a menu given at run time.

    An answer from outside the menu is invalid; with `enforced=False` the menu is only offered,
    and the evaluator decides what to do with other labels.
    """

    name: str
    enforced: bool = True

    def __get_pydantic_core_schema__(
        self,
        source: Any,  # pydantic's protocol: any annotation
        handler: GetCoreSchemaHandler,
    ) -> CoreSchema:
        schema = handler(source)
        if not self.enforced:
            return schema
        return core_schema.with_info_after_validator_function(self._choose, schema)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        return {**handler(schema), _MENU: self.name}

    def _choose(self, value: str, info: ValidationInfo) -> str:
        menus: Menus = info.context or {}
        if value not in menus[self.name]:
            raise ValueError(f"must be one of {', '.join(menus[self.name])}")
        return value


A = TypeVar("A", bound=Answer)


class Form(Generic[A]):
    """The form of an answer: the schema for the vendor, and how it is read."""

    def __init__(self, answer: type[A], menus: Menus | None = None) -> None:
        self.answer = answer
        self.menus: Menus = menus or {}
        self.schema = AnswerSchema(strict_schema(answer, self.menus))

    def read(self, text: str) -> A:
        """The answer in a judge's text; raises InvalidAnswer."""
        return read(text, self.answer, self.menus)


def same_label(one: str, other: str) -> bool:
    """Whether two labels differ in spelling only: case, spaces, hyphens, underscores."""
    return label_key(one) == label_key(other)


def label_key(label: str) -> str:
    return "".join(label.casefold().split()).replace("_", "").replace("-", "")


def read(text: str, answer: type[A], menus: Menus) -> A:
    """The answer in a judge's text: the text itself, or the one object in it that fits.

    Reasoning before it, fences and prose around it, faults of notation and other spellings of
    labels are ignored. Two different answers are none: picking one would be a guess, and the other
    may have come from the transcript.

    Raises:
        InvalidAnswer: there is none, it doesn't fit, or there are several.
    """
    with suppress(ValidationError):  # most are just that, which need not be looked for
        return answer.model_validate_json(text, context=menus)
    fitting: list[A] = []
    complaint: str | None = None
    for span in reading.objects(text):
        try:
            found = _fitted(span, answer, menus)
        except ValidationError as error:
            complaint = complaint or _complaint(error)
        else:
            fitting += [found] if found not in fitting else []
    if len(fitting) > 1:
        raise InvalidAnswer("There is more than one answer: give exactly one JSON object.")
    if not fitting:
        raise InvalidAnswer(complaint or "There is no complete JSON object in the answer.")
    return fitting[0]


def _fitted(span: str, answer: type[A], menus: Menus) -> A:
    """The answer in an object: read strictly, then leniently, then as a wrapper.

    Raises:
        ValidationError: it fits in no way; what is wrong with it, without its notation and the
            spelling of its labels.
    """
    try:
        return answer.model_validate_json(span, context=menus)
    except ValidationError as error:
        strict = error
    try:
        value = reading.lenient(span)
    except ValueError:
        raise strict from None
    schema = strict_schema(answer, menus)
    wrong = strict
    for each in (value, *reading.unwrapped(value)):
        if not isinstance(each, dict):
            continue
        try:
            # As JSON again: numbers are then read by the same rules.
            return answer.model_validate_json(_json(_respelled(each, schema)), context=menus)
        except ValidationError as error:
            wrong = error if wrong is strict else wrong
    raise wrong


def _respelled(value: Any, schema: Mapping[str, Any]) -> Any:
    """The value with its labels in the spelling of the schema: "not_applicable" becomes "NOT
    APPLICABLE". A label that is like several of them, or like none, stays as it is."""
    for each in schema.get("anyOf", ()):
        value = _respelled(value, each)
    match value:
        case dict() if "properties" in schema:
            known: Mapping[str, Any] = schema["properties"]
            given = cast("Mapping[str, Any]", value)
            return {name: _respelled(each, known.get(name, {})) for name, each in given.items()}
        case list() if "items" in schema:
            return [_respelled(each, schema["items"]) for each in cast("list[Any]", value)]
        case str() if value not in schema.get("enum", (value,)):
            alike = [label for label in schema["enum"] if same_label(label, value)]
            return alike[0] if len(alike) == 1 else value
        case _:
            return value


def _json(value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError):  # of Python's literals, not all are JSON
        return ""


def strict_schema(answer: type[Answer], menus: Menus) -> dict[str, object]:
    """The JSON schema of an answer, inside every vendor's strict subset.

    Every property is required, no other is allowed, an optional one is a union with null, nothing
    is referenced, and no keyword is used beyond those written here.

    Raises:
        TypeError: the model has something that the subset can't express.
    """
    raw = _plain_schema(answer)
    return _strict(raw, raw.get("$defs", {}), menus)


@cache
def _plain_schema(answer: type[Answer]) -> Mapping[str, Any]:
    # Milliseconds each time, and menus that change with every question are not in it yet.
    return answer.model_json_schema()


def _strict(node: Mapping[str, Any], defs: Mapping[str, Any], menus: Menus) -> dict[str, object]:
    if "$ref" in node:
        return _strict(defs[node["$ref"].removeprefix("#/$defs/")], defs, menus)
    about = {"description": node["description"]} if "description" in node else {}
    if "anyOf" in node:
        return {**about, "anyOf": [_strict(each, defs, menus) for each in node["anyOf"]]}
    match node.get("type"):
        case "object" if "properties" in node:
            properties: Mapping[str, Any] = node["properties"]
            return {
                "type": "object",
                **about,
                "properties": {k: _strict(v, defs, menus) for k, v in properties.items()},
                "required": list(properties),
                "additionalProperties": False,
            }
        case "array" if "items" in node:
            return {"type": "array", **about, "items": _strict(node["items"], defs, menus)}
        case "string":
            return {"type": "string", **about, **_enum(node, menus)}
        case "integer" | "number" | "boolean" | "null" as scalar:
            return {"type": scalar, **about}
        case _:
            raise TypeError(f"not in every vendor's strict subset: {dict(node)}")


def _enum(node: Mapping[str, Any], menus: Menus) -> dict[str, list[str]]:
    if _MENU in node:
        # An empty enum is not a schema: an empty menu offers nothing and forbids nothing.
        return {"enum": list(labels)} if (labels := menus[node[_MENU]]) else {}
    if "const" in node:
        return {"enum": [node["const"]]}
    return {"enum": list(node["enum"])} if "enum" in node else {}


def _complaint(error: ValidationError) -> str:
    mistakes = error.errors(include_url=False, include_input=False)
    lines = [
        f"{'.'.join(map(str, mistake['loc'])) or 'answer'}: {mistake['msg']}"
        for mistake in mistakes
    ]
    more = len(lines) - _SHOWN_ERRORS
    return "; ".join(lines[:_SHOWN_ERRORS] + ([f"and {more} more"] if more > 0 else []))
