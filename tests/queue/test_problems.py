"""What is wrong with a value is said in a sentence, and never in a validator's words."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, get_args
from uuid import UUID

import pytest
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core.core_schema import ErrorType

from evalqueue.problems import _TEXTS, Written, explained

Key = Annotated[str, Written(r"^[a-z]{1,3}$", "one to three small letters")]


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class One(BaseModel):
    model_config = {"extra": "forbid"}
    kind: Literal["one"]


class Two(BaseModel):
    kind: Literal["two"]


@dataclass
class Part:
    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}
    name: str


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("Write an even number")
    return value


AnyKind = Annotated[One | Two, Field(discriminator="kind")]
CASES: list[tuple[Any, Any, str]] = [
    (One, {}, "It is missing"),
    (One, {"kind": "one", "x": 1}, "There is no such key: remove it, or correct its spelling"),
    (One, 1, "Write an object, which has keys and values"),
    (One, {"kind": "two"}, "Choose 'one'"),
    (AnyKind, {"kind": "three"}, "There is no 'kind' 'three': choose 'one', 'two'"),
    (AnyKind, {}, "Say 'kind'"),
    (Part, {"name": "a", "x": 1}, "There is no such key: remove it, or correct its spelling"),
    (Part, 1, "Write an object, which has keys and values"),
    (dict[str, int], 1, "Write an object, which has keys and values"),
    (str, 1, "Write a text"),
    (Annotated[str, Field(max_length=2)], "abc", "It is too long: 2 characters at most"),
    (Annotated[str, Field(min_length=2)], "a", "It is too short: 2 characters at least"),
    (Annotated[str, Field(min_length=1)], "", "It is empty"),
    (Annotated[str, Field(pattern="^a$")], "b", "It does not have the form ^a$"),
    (Key, "ABC", "Write one to three small letters"),
    (Key, "a\n", "Write one to three small letters"),
    (dict[Key, int], {"ABCD": 1}, "Write one to three small letters"),
    (Colour, "green", "Choose 'red' or 'blue'"),
    (int, "x", "Write a whole number"),
    (int, None, "Write a whole number"),
    (int, 1.5, "Write a whole number"),
    (int, "9" * 5_000, "Write a whole number"),
    (float, "x", "Write a number"),
    (float, [], "Write a number"),
    (Annotated[float, Field(allow_inf_nan=False)], "inf", "Write a number"),
    (Decimal, "x", "Write a number"),
    (Decimal, [], "Write a number"),
    (Annotated[Decimal, Field(decimal_places=2)], "1.234", "2 decimal places at most"),
    (bool, "x", "Write true or false"),
    (bool, [], "Write true or false"),
    (Annotated[int, Field(gt=1)], 1, "Write more than 1"),
    (Annotated[int, Field(ge=1)], 0, "Write 1 or more"),
    (Annotated[int, Field(lt=1)], 1, "Write less than 1"),
    (Annotated[float, Field(le=2)], 3, "Write 2 or less"),
    (Annotated[float, Field(gt=0.5)], 0.1, "Write more than 0.5"),
    (list[int], 1, "Write a list"),
    (tuple[int, ...], 1, "Write a list"),
    (Annotated[list[int], Field(max_length=1)], [1, 2], "There are too many: 1 at most"),
    (Annotated[list[int], Field(min_length=2)], [1], "There are too few: 2 at least"),
    (Annotated[list[int], Field(min_length=1)], [], "It is empty"),
    (datetime, "x", "Write date, time and zone, as in 2026-01-31T08:00:00Z"),
    (AwareDatetime, "2026-01-31T08:00", "Write date, time and zone, as in 2026-01-31T08:00:00Z"),
    (UUID, "x", "Write a whole id, as in 0f1cf6f2-6d2c-4f0b-8f3c-2e2f6d8f9a10"),
    (UUID, 1, "Write a whole id, as in 0f1cf6f2-6d2c-4f0b-8f3c-2e2f6d8f9a10"),
    (Annotated[int, AfterValidator(_even)], 1, "Write an even number"),
]


@pytest.mark.parametrize(("kind", "value", "sentence"), CASES)
def test_each_mistake_has_a_sentence(kind: Any, value: Any, sentence: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(kind).validate_python(value)

    assert [each["msg"] for each in explained(refused.value)] == [sentence]


def test_every_text_is_of_a_type_of_pydantic() -> None:
    assert _TEXTS.keys() <= {*get_args(ErrorType)}


def test_how_a_text_has_to_be_written_is_in_its_schema() -> None:
    assert TypeAdapter(Key).json_schema() == {"type": "string", "pattern": "^[a-z]{1,3}$"}
    assert TypeAdapter(Key).validate_python("abc") == "abc"
