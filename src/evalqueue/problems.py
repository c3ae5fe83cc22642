"""What is wrong with a value from outside, in sentences that say what to write instead.

Pydantic's own messages name its types and regular expressions.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any, get_args
from unicodedata import category

from pydantic import (
    BaseModel,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from evalqueue import codec

_WHOLE_NUMBER = "Write a whole number"
_NUMBER = "Write a number"
_OBJECT = "Write an object, which has keys and values"
_UNKNOWN = "There is no such key: remove it, or correct its spelling"
_MOMENT = "Write date, time and zone, as in 2026-01-31T08:00:00Z"
_ID = "Write a whole id, as in 0f1cf6f2-6d2c-4f0b-8f3c-2e2f6d8f9a10"

_TEXTS: Mapping[str, str] = {
    "missing": "It is missing",
    "extra_forbidden": _UNKNOWN,
    "unexpected_keyword_argument": _UNKNOWN,
    "string_type": "Write a text",
    "string_too_long": "It is too long: {max_length} characters at most",
    "string_too_short": "It is too short: {min_length} characters at least",
    "string_pattern_mismatch": "It does not have the form {pattern}",
    "literal_error": "Choose {expected}",
    "enum": "Choose {expected}",
    "union_tag_not_found": "Say {discriminator}",
    "union_tag_invalid": "There is no {discriminator} {tag!r}: choose {expected_tags}",
    "int_type": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_parsing_size": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "decimal_type": _NUMBER,
    "decimal_parsing": _NUMBER,
    "decimal_max_places": "{decimal_places} decimal places at most",
    "bool_type": "Write true or false",
    "bool_parsing": "Write true or false",
    "greater_than": "Write more than {gt}",
    "greater_than_equal": "Write {ge} or more",
    "less_than": "Write less than {lt}",
    "less_than_equal": "Write {le} or less",
    "list_type": "Write a list",
    "tuple_type": "Write a list",
    "too_long": "There are too many: {max_length} at most",
    "too_short": "There are too few: {min_length} at least",
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dataclass_type": _OBJECT,
    "datetime_type": _MOMENT,
    "datetime_parsing": _MOMENT,
    "datetime_from_date_parsing": _MOMENT,
    "timezone_aware": _MOMENT,
    "uuid_type": _ID,
    "uuid_parsing": _ID,
}


def explained(error: ValidationError) -> list[ErrorDetails]:
    """What pydantic has found, each with a sentence as its message."""
    return [{**each, "msg": sentence(each)} for each in error.errors(include_url=False)]


def sentence(mistake: ErrorDetails) -> str:
    """What is wrong, and what to do."""
    context = {
        name: format(value, "g") if isinstance(value, float) else value
        for name, value in mistake.get("ctx", {}).items()
    }
    if mistake["type"] in {"string_too_short", "too_short"} and context["min_length"] == 1:
        return "It is empty"
    text = _TEXTS.get(mistake["type"])
    if text is None:
        return re.sub(r"^(Value error|Assertion failed), ", "", mistake["msg"])
    return text.format(**context)


@dataclass(frozen=True, slots=True)
class Written:
    """How a text has to be written: `Annotated[str, Written(r"^[a-z]+$", "small letters")]`."""

    pattern: str
    words: str
    """The same in words, after "Write"."""
    _compiled: re.Pattern[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiled", re.compile(self.pattern.removesuffix("$") + r"\Z"))

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"pattern": self.pattern}

    def _checked(self, text: str) -> str:
        if self._compiled.match(text) is None:
            raise ValueError(f"Write {self.words}")
        return text


_NOT_IN_A_LINE_CLASS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069"
"""Control characters, ends of lines, and what changes the direction of the text that follows."""
_NOT_IN_A_LINE = re.compile(rf"[{_NOT_IN_A_LINE_CLASS}\ud800-\udfff]")
"""The same, and halves of pairs of surrogates, which JSON can't have."""
_BLANK_CLASS = r"\s\u00ad\u200b-\u200f\u2060\ufeff"
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})  # categories of characters
LINE_PATTERN = (
    f"^[^{_NOT_IN_A_LINE_CLASS}]*[^{_NOT_IN_A_LINE_CLASS}{_BLANK_CLASS}][^{_NOT_IN_A_LINE_CLASS}]*$"
)
"""The pattern of a `OneLine` in JSON schemas: characters that are seldom met and can't be seen are
not in it."""


def line_problem(text: str) -> str | None:
    """Why a text is no name, of which people read one line; None: it is one."""
    if found := _NOT_IN_A_LINE.search(text):
        return f"Write one line without control characters: it has U+{ord(found[0]):04X}"
    seen = text.replace(codec.REPLACEMENT, "")  # of what could not be stored
    if all(category(each) in _UNSEEN for each in seen):
        return "It is empty: write something that can be seen"
    return None


def as_line(text: str) -> str:
    """A text on one line, without what can't be in one; of invisible characters nothing is left."""
    line = " ".join(_NOT_IN_A_LINE.sub(" ", text).split())
    return "" if line_problem(line) else line


class _OneLine:
    """Refuses what is no line, and says so in the JSON schema."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"pattern": LINE_PATTERN}

    def _checked(self, text: str) -> str:
        if problem := line_problem(text):
            raise ValueError(problem)
        return text


OneLine = _OneLine()
"""Of a name, or another short text that people read: `Annotated[str, Field(…), OneLine]`."""


class StrictNumbers(BaseModel):
    """A model whose numbers are never written as true or false, which pydantic takes as 1 and 0."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: object, info: ValidationInfo) -> object:
        if info.field_name in numbers_of(cls) and has_boolean(value):
            raise ValueError("Write a number, not true or false")
        return value


@cache
def numbers_of(model: type[BaseModel]) -> frozenset[str]:
    """The fields of a model that have numbers, alone or in lists and objects, and no booleans."""
    fields = {name: {*_types(each.annotation)} for name, each in model.model_fields.items()}
    return frozenset(
        name
        for name, types in fields.items()
        if types & {int, float, Decimal} and not types & {bool, Any, object}
    )


def has_boolean(value: object) -> bool:
    """Whether a value is true or false, or a list or an object with one of these."""
    match value:
        case bool():
            return True
        case list() | tuple():
            return any(isinstance(each, bool) for each in value)  # pyright: ignore[reportUnknownVariableType]  any JSON
        case Mapping():
            return any(isinstance(each, bool) for each in value.values())  # pyright: ignore[reportUnknownVariableType]  any JSON
        case _:
            return False


def _types(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of."""
    yield annotation
    for each in get_args(annotation):
        yield from _types(each)
