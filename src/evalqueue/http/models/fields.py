"""The base class of all models, and the field types that they share."""

import contextlib
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from evalqueue import codec
from evalqueue.evaluators.judging.scores import MAX_LABEL
from evalqueue.evaluators.prices.costs import shown

JSON_SUFFIX = "Json"

MAX_INTEGER = 2**53 - 1  # what JavaScript can count to, and less than a bigint
MAX_NAME = 50  # characters of a job type
MAX_SEARCH = 200  # characters of a text to search for
MAX_THREAD_NAME = 500  # characters of a thread's id
MAX_KEY = 255  # characters of an idempotency key
PRINTABLE_ASCII = "^[ -~]*$"
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


Moment = Annotated[
    AwareDatetime,
    PlainSerializer(_iso, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


def _rfc3339(value: object) -> object:
    if isinstance(value, str) and not RFC_3339.fullmatch(value):
        raise ValueError("not a date and time as in RFC 3339: 2026-01-31T08:00:00Z")
    return value


Since = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]
"""A moment in a request, only as text: pydantic reads a number as seconds since 1970."""

Dollars = Annotated[
    Decimal,
    PlainSerializer(shown, return_type=str),
    WithJsonSchema({"type": "string", "format": "decimal"}),
]
"""US dollars, as text: JSON's numbers are binary in most programs."""


def _once(value: object) -> object:
    if isinstance(value, str):
        with contextlib.suppress(json.JSONDecodeError, RecursionError):  # which pydantic reports
            json.loads(value, object_pairs_hook=codec.once)
    return value


KeysOnce = BeforeValidator(_once)
"""Of JSON in a field of a form: a repeated key is refused."""

Name = Annotated[str, Field(max_length=MAX_NAME), AfterValidator(codec.clean_text)]
ThreadName = Annotated[str, Field(max_length=MAX_THREAD_NAME), AfterValidator(codec.clean_text)]
AppName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(codec.clean_text)]
SearchText = Annotated[
    str, Field(min_length=1, max_length=MAX_SEARCH), AfterValidator(codec.clean_text)
]
LabelText = Annotated[str, Field(max_length=MAX_LABEL), AfterValidator(codec.clean_text)]
Offset = Annotated[int, Field(ge=0, le=MAX_INTEGER)]


def matching_fields(model: type[BaseModel], value: object) -> dict[str, Any]:
    """The attributes of a value that have the name of one of the model's fields."""
    return {name: getattr(value, name) for name in model.model_fields if hasattr(value, name)}


def seconds(length: timedelta | None) -> float | None:
    """A duration in seconds."""
    return None if length is None else length.total_seconds()


def schema_name(model: type) -> str:
    """The name of a model in the OpenAPI document: that of its class, without `Json`."""
    return model.__name__.removesuffix(JSON_SUFFIX)


class Model(BaseModel):
    """A request or a response. Docstrings of attributes are their descriptions in the document."""

    model_config = ConfigDict(
        frozen=True,
        from_attributes=True,
        use_attribute_docstrings=True,
        model_title_generator=schema_name,
    )


class JobId(Model):
    job_id: UUID


class RunId(Model):
    run_id: UUID


class TokenRangeJson(Model):
    """An expected number of tokens, and an interval that it should fall into."""

    expected: int
    low: int
    high: int


class DollarRangeJson(Model):
    """US dollars, likewise."""

    expected: Dollars
    low: Dollars
    high: Dollars


class EstimateJson(Model):
    """What the LLM calls of a batch may use, if none is answered from earlier runs."""

    calls: int
    tokens_in: TokenRangeJson
    tokens_out: TokenRangeJson
    cost_usd: DollarRangeJson | None
    """Null: the price of the model is not known."""
    recorded_calls: int
    """How many recorded calls of the same evaluators and model it is learned from; 0: from none."""
    errors: list[str]
    """What evaluators raised when their prompts were made: the figures lack those."""
