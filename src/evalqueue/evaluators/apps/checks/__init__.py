"""Checks: what a program looks at in an app's answers, as data. Their parameters, and mistakes in
them; `judging.checks` carries them out.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import Field

from evalqueue.evaluators import expressions
from evalqueue.evaluators.apps.checks import schemas
from evalqueue.evaluators.definitions.closed import ClosedPart
from evalqueue.evaluators.personal_data import PersonalData
from evalqueue.problems import Written

CheckScope = Literal["every_answer", "last_answer", "conversation"]
Path = tuple[str | int, ...]
Mistake = tuple[str, Path]
"""What is wrong and what to do, and where."""

CHECKS_MAX = 50
TEXTS_MAX = 100
PARAMETERS_MAX = 20_000
"""Characters of the parameters of one check."""
RESERVED = "passed"
"""The name of the score that says whether all checks were passed."""
_LANGUAGE = re.compile(r"[a-z]{2,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check(ClosedPart):
    """What all checks have."""

    name: Annotated[
        str,
        Written(
            r"^[a-z][a-z0-9_]{0,49}$", "small letters, digits and _, first a letter; 50 at most"
        ),
    ]
    """Of its score."""
    scope: CheckScope = "every_answer"
    """`conversation`: all answers of the bot together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegexCheck(_Check):
    """An RE2 expression occurs in the answer, or does not."""

    kind: Literal["regex"]
    pattern: str
    must_match: bool = True
    ignore_case: bool = False

    def mistakes(self) -> Iterator[Mistake]:
        if msg := expressions.mistake(self.pattern):
            yield msg, ("pattern",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainsCheck(_Check):
    """The answer contains all, one or none of some texts."""

    kind: Literal["contains"]
    texts: tuple[str, ...]
    match: Literal["all", "any", "none"] = "all"
    ignore_case: bool = True

    def mistakes(self) -> Iterator[Mistake]:
        if not self.texts or not all(each.strip() for each in self.texts):
            yield "at least one text is needed, and none may be empty", ("texts",)
        if len(self.texts) > TEXTS_MAX:
            yield f"{TEXTS_MAX} texts at most", ("texts",)


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualsCheck(_Check):
    """The answer is a text; without one, the reference answer of the data."""

    kind: Literal["equals"]
    text: str | None = None
    exact: bool = False
    """False: case, white space, markdown and kinds of quotes and dashes do not matter."""

    def mistakes(self) -> Iterator[Mistake]:
        if self.text is not None and not self.text.strip():
            yield "it is empty: leave it out to compare with the reference answer", ("text",)


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSchemaCheck(_Check):
    """The answer is JSON, alone or in a code block, and valid by a JSON schema (2020-12)."""

    kind: Literal["json_schema"]
    schema: dict[str, Any]

    def mistakes(self) -> Iterator[Mistake]:
        found = list(_unfit(self.schema, 'write {"type": "null"}'))
        for msg, path in found or schemas.mistakes(self.schema):
            yield msg, ("schema", *path)


@dataclass(frozen=True, slots=True, kw_only=True)
class SumsCheck(_Check):
    """In each table that has such a column, the rows add up to the row of the total."""

    kind: Literal["sums"]
    column: str
    """A part of the column's heading, as in "price"."""
    total: str = "total"
    """How the first cell of the total's row begins."""
    tolerance: Annotated[float, Field(ge=0)] = 0.005
    tolerance_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of the total. The larger one of both counts."""

    def mistakes(self) -> Iterator[Mistake]:
        for key in ("column", "total"):
            if not getattr(self, key).strip():
                yield "it is empty", (key,)


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthCheck(_Check):
    """The answer is not too short and not too long."""

    kind: Literal["length"]
    unit: Literal["characters", "words"] = "characters"
    minimum: Annotated[int, Field(ge=0)] = 0
    maximum: Annotated[int, Field(ge=0)] | None = None

    def mistakes(self) -> Iterator[Mistake]:
        if self.maximum is None and not self.minimum:
            yield "say minimum, maximum or both", ()
        if self.maximum is not None and self.maximum < self.minimum:
            yield "it is less than the minimum", ("maximum",)


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageCheck(_Check):
    """The answer is in one of some languages; without any, in that of the user's messages."""

    kind: Literal["language"]
    languages: tuple[str, ...] = ()
    """Codes of ISO 639-1, such as `en`."""

    def mistakes(self) -> Iterator[Mistake]:
        for number, code in enumerate(self.languages):
            if not _LANGUAGE.fullmatch(code):
                yield "write the code of ISO 639-1, as in 'en'", ("languages", number)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyCheck(_Check):
    """The answer did not take too long, by what the data record. In a conversation: no answer."""

    kind: Literal["latency"]
    max_seconds: Annotated[float, Field(gt=0)]
    from_timestamps: bool = False
    """Whether the time between the user's message and the answer counts where no latency is
    recorded."""

    def mistakes(self) -> Iterator[Mistake]:
        yield from ()  # the types exclude all


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalDataCheck(_Check):
    """The answer has no e-mail addresses, phone numbers and card numbers."""

    kind: Literal["personal_data"]
    data: tuple[PersonalData, ...] = tuple(PersonalData)
    allow_from_user: bool = True
    """Whether what the user wrote in the conversation may be repeated."""

    def mistakes(self) -> Iterator[Mistake]:
        if not self.data:
            yield f"name some of {', '.join(PersonalData)}", ("data",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalledCheck(_Check):
    """A tool was called, or was not, with these arguments among others."""

    kind: Literal["tool_called"]
    tool: str
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    must_be_called: bool = True

    def mistakes(self) -> Iterator[Mistake]:
        if not self.tool.strip():
            yield "the name is empty", ("tool",)
        for msg, path in _unfit(self.arguments, "leave it out"):
            yield msg, ("arguments", *path)


AnyCheck = (
    RegexCheck
    | ContainsCheck
    | EqualsCheck
    | JsonSchemaCheck
    | SumsCheck
    | LengthCheck
    | LanguageCheck
    | LatencyCheck
    | PersonalDataCheck
    | ToolCalledCheck
)
Check = Annotated[AnyCheck, Field(discriminator="kind")]
_KEYS: Mapping[str, tuple[str, ...]] = {
    each.__annotations__["kind"].__args__[0]: tuple(part.name for part in fields(each))
    for each in get_args(AnyCheck)
}


def located(path: Path) -> tuple[Path, tuple[str, ...]]:
    """The path of a mistake without the kind, which pydantic puts into it; the keys known there."""
    if len(path) > 2 and path[0] == "checks" and path[2] in _KEYS:  # noqa: PLR2004  its place
        return (*path[:2], *path[3:]), _KEYS[str(path[2])]
    return path, ()


def mistakes(checks: Sequence[AnyCheck]) -> Iterator[Mistake]:
    """Mistakes that the types don't exclude, each with its path inside the list."""
    if len(checks) > CHECKS_MAX:
        yield f"{len(checks)} checks are too many: {CHECKS_MAX} at most", ()
    for name, times in Counter(each.name for each in checks).items():
        if times > 1:
            yield f"{name!r} is there twice: give each a name of its own", ()
    for number, check in enumerate(checks):
        if check.name == RESERVED:
            yield (
                f"{RESERVED!r} is the score of all checks together: choose another",
                (
                    number,
                    "name",
                ),
            )
        for msg, path in check.mistakes():
            yield msg, (number, *path)


def _unfit(parameters: Mapping[str, Any], instead_of_null: str) -> Iterator[Mistake]:
    """Why parameters of any shape can't be stored."""
    if len(json.dumps(parameters, default=str)) > PARAMETERS_MAX:
        yield f"longer than {PARAMETERS_MAX:,} characters", ()
    if _has_null(parameters):
        yield f"null can't be written in every notation: {instead_of_null}", ()


def _has_null(value: Any) -> bool:
    match value:
        case None:
            return True
        case dict():
            return any(map(_has_null, cast("dict[str, Any]", value).values()))
        case list():
            return any(map(_has_null, cast("list[Any]", value)))
        case _:
            return False
