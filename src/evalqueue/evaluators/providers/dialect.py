"""The parameters that an endpoint accepts, as far as it is known.

An endpoint says that it does not take a parameter by refusing it. Only a refusal that names the
parameter teaches anything: in a field of the error, or where the vendors' messages are known to
have it, at their beginning. The rest of a message may quote the user's words.
"""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self, cast


class AnswerFormat(StrEnum):
    """How an endpoint is asked for JSON."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    """JSON; the schema is in the prompt."""
    TEXT = "text"
    """Nothing is asked for; the schema is in the prompt."""


class Parameter(StrEnum):
    """The parameters that not every endpoint accepts."""

    RESPONSE_FORMAT = "response_format"
    TEMPERATURE = "temperature"
    OUTPUT_LIMIT = "output_limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedParameter:
    """A parameter that an endpoint refused."""

    parameter: Parameter
    name: str
    """As the vendor spells it."""
    ceiling: int | None = None
    """The highest value that it takes. None: it does not say, or does not take the parameter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDialect:
    """What one endpoint, model and credential accept."""

    formats: tuple[AnswerFormat, ...] = tuple(AnswerFormat)
    """The first one is used."""
    limits: tuple[str, ...]
    """The names of the limit of output tokens. The first one is used."""
    temperature: bool = True
    ceiling: int | None = None
    """The most output tokens that can be asked for. None: not known."""

    @property
    def format(self) -> AnswerFormat:
        return self.formats[0]

    def output_limit(self, wanted: int) -> int:
        return wanted if self.ceiling is None else min(wanted, self.ceiling)

    def is_ceiling(self, wanted: int) -> bool:
        """Whether so many output tokens are all that can be asked for."""
        return self.ceiling is not None and wanted >= self.ceiling

    def without(self, refused: RefusedParameter, *, sent: Self) -> Self | None:
        """The dialect after a refusal of a request in the dialect `sent`.

        Another call may have learnt the same meanwhile. None: there is nothing left to leave out.
        """
        match refused.parameter:
            case Parameter.RESPONSE_FORMAT:
                if sent.format is not self.format:
                    return self
                return replace(self, formats=self.formats[1:]) if self.formats[1:] else None
            case Parameter.TEMPERATURE:
                return replace(self, temperature=False) if sent.temperature else None
            case Parameter.OUTPUT_LIMIT:
                return self._with_other_limit(refused, sent)

    def _with_other_limit(self, refused: RefusedParameter, sent: Self) -> Self | None:
        if refused.ceiling is not None:
            if sent.ceiling is not None and refused.ceiling >= sent.ceiling:
                return None
            return replace(self, ceiling=min(refused.ceiling, self.ceiling or refused.ceiling))
        if sent.limits != self.limits:
            return self
        is_sent = _key(refused.name) == _key(self.limits[0])
        return replace(self, limits=self.limits[1:]) if is_sent and self.limits[1:] else None


def refused(text: str, *, param: str | None = None) -> RefusedParameter | None:
    """The parameter that an error is about. None: it does not name one of those.

    Args:
        text: the vendor's message.
        param: what the error's own field for that says.
    """
    text, param = _innermost(text.strip()[:_READ_LIMIT], param)
    name = _parameter_name(text, param)
    if name is None:
        return None
    parameter = _PARAMETERS[_key(name)]
    if parameter is Parameter.RESPONSE_FORMAT and _INVALID_SCHEMA.match(text):
        return None  # our mistake: the endpoint does support schemas
    if parameter is Parameter.TEMPERATURE and _OUT_OF_RANGE.search(text):
        return None  # it supports others
    ceiling = _ceiling(text) if parameter is Parameter.OUTPUT_LIMIT else None
    if parameter is Parameter.OUTPUT_LIMIT and ceiling is None and not _UNSUPPORTED.search(text):
        return None  # its value together with the prompt is too large
    return RefusedParameter(parameter=parameter, name=name, ceiling=ceiling)


_READ_LIMIT = 4_000  # characters
_PARAMETERS = {
    "responseformat": Parameter.RESPONSE_FORMAT,
    "jsonschema": Parameter.RESPONSE_FORMAT,
    "jsonobject": Parameter.RESPONSE_FORMAT,
    "jsonmode": Parameter.RESPONSE_FORMAT,
    "jsonoutput": Parameter.RESPONSE_FORMAT,
    "structuredoutput": Parameter.RESPONSE_FORMAT,
    "structuredoutputs": Parameter.RESPONSE_FORMAT,
    "responseschema": Parameter.RESPONSE_FORMAT,
    "responsejsonschema": Parameter.RESPONSE_FORMAT,
    "responsemimetype": Parameter.RESPONSE_FORMAT,
    "temperature": Parameter.TEMPERATURE,
    "maxtokens": Parameter.OUTPUT_LIMIT,
    "maxcompletiontokens": Parameter.OUTPUT_LIMIT,
    "maxoutputtokens": Parameter.OUTPUT_LIMIT,
}
_NAME = (
    r"(?P<name>response[ _]?format|json[ _](?:schema|object|mode|output)|structured[ _]outputs?|"
    r"response_?(?:json_?)?schema|response_?mime_?type|temperature|"
    r"max_?(?:output|completion)?_?tokens)"
)
# In quotes it is the whole of what is quoted: 'temperature', never 'temperature 39'.
_QUOTED = rf"[\[(]*(?P<quote>[\"'`]?){_NAME}(?:\.\w+)*(?P=quote)(?!\w)"
_NOT = (
    r"(?:not? (?:longer )?(?:be )?(?:supported|available|permitted|allowed|enabled|accepted|valid|"
    r"recogni[sz]ed|implemented)|unsupported|unavailable|unknown|deprecated|disabled|unrecogni[sz]ed)"
)
_SUBJECT = (
    r"(?:(?:this|the|your) )?(?:model|server|provider|endpoint|deployment|engine|api|backend)s?"
)
_FORMS = tuple(
    re.compile(rf"\A(?:{form})", re.IGNORECASE)
    for form in (
        rf"unsupported value\s*:\s*{_QUOTED}",
        rf"(?:unsupported|unknown|unrecogni[sz]ed|unexpected|invalid|unavailable) (?:request )?"
        rf"(?:parameter|argument|field|property|key|name|keyword argument)s?"
        rf"(?: (?:supplied|provided|value|received))*\s*:?\s*{_QUOTED}",
        rf"invalid {_QUOTED}[\"'`]* value",
        rf"(?:invalid|unsupported|unknown) {_QUOTED}[\"'`]*(?:$|[\s:.,])",
        rf"(?:the |this )?"
        rf"(?:(?:parameter|property|argument|field|feature|option|use of|value of) )?"
        rf"{_QUOTED}[\"'`]*(?: (?:parameter|argument|type|value|field|option|setting))?"
        rf"(?: (?:of )?['\"]?[\w.-]+['\"]?)? (?:is|are|was|can)(?: currently)? {_NOT}",
        rf"{_QUOTED}[\"'`\])]* (?:does|do) not support",
        rf"{_QUOTED}[\"'`\])]*:? (?:extra inputs are not permitted|is too large|is too high|"
        rf"must be|should be|exceeds|cannot exceed|can't exceed|value)",
        rf"{_QUOTED}[\"'`\])]*: \d+ > \d+",
        rf"{_SUBJECT}(?: ['\"`]?[\w./:-]+['\"`]?)? (?:does not|doesn't|do not|don't|cannot|can't) "
        rf"(?:support|accept|allow)(?: the)?(?: parameters?| use of| setting)?:? ?{_QUOTED}",
        rf"[\w./:-]+(?: models?)?(?: \([^()]*\))? (?:does not|doesn't|do not|don't) "
        rf"(?:support|accept)(?: the)?(?: parameters?)?:? ?{_QUOTED}",
        rf"(?:the )?(?:maximum|max|largest|supported|valid) (?:allowed )?(?:value|range|number)"
        rf" (?:for|of) {_QUOTED}",
        rf"range of {_QUOTED}",
        rf"unable to submit request because it has an? {_QUOTED} value",
    )
)
_CLASS_NAMES = re.compile(
    r"(?:(?:[\w.]*(?:Error|Exception)|Error code: \d+|\d{3})\s*[:-]\s*|"
    r"(?=[A-Z])(?=\w*?(?:Azure|OpenAI|Anthropic|Vertex|Bedrock|Groq|Gemini))\w++(?: - |: ))+"
)
_INVALID_SCHEMA = re.compile(
    r"invalid (?:json )?schema|schema is (?:not valid|invalid)", re.IGNORECASE
)
_OUT_OF_RANGE = re.compile(
    r"(?:above|below|exceeds|over|under) (?:the )?(?:max|min)|between|less than|greater than|[<>]=|"
    r"\brange\b|at most|at least|too (?:high|large|low)",
    re.IGNORECASE,
)
_UNSUPPORTED = re.compile(
    rf"{_NOT}|does not support|doesn't support|unexpected|extra (?:inputs|field)|\binstead\b",
    re.IGNORECASE,
)
_THOUSANDS = re.compile(r"(?<![\[\d,])\d{1,3}(?:,\d{3})+(?![\d,])")
_CEILING = re.compile(
    r"at most (?:support )?(?P<a>\d+)|\[\s*\d+\s*,\s*(?P<b>\d+)\s*\]|: \d+ > (?P<c>\d+)"
    r"|less than or equal to [`'\"]?(?P<d>\d+)|<= ?(?P<e>\d+)"
    r"|(?:cannot|can't|must not|may not) (?:exceed|be (?:greater|larger|more) than) (?P<f>\d+)"
    r"|maximum (?:allowed )?(?:value|number)[^.\d]{0,60}? (?:is|of) [`'\"]?(?P<g>\d+)"
    r"|(?:maximum|limit)(?: is| of|:) [`'\"]?(?P<h>\d+)"
    r"|from \d+ \(inclusive\) to (?P<exclusive>\d+) \(exclusive\)"
    r"|between \d+ and (?P<i>\d+)|exceeds[^.\d]{0,60}? (?P<j>\d+)",
    re.IGNORECASE,
)


def _parameter_name(text: str, param: str | None) -> str | None:
    # `response_format.json_schema`, `generation_config.max_output_tokens`, `body.temperature`
    for name in (param or "").split("."):
        if _key(name) in _PARAMETERS:
            return name
    if param:  # it is about another one
        return None
    bare = text[found.end() :] if (found := _CLASS_NAMES.match(text)) else text
    for form in _FORMS:
        if match := form.match(bare):
            return match["name"]
    return None


def _innermost(text: str, param: str | None) -> tuple[str, str | None]:
    """An error inside an error: a wrapper may quote the vendor's body, as JSON or as Python."""
    bare = text[found.end() :] if (found := _CLASS_NAMES.match(text)) else text
    if not bare.startswith("{"):
        return text, param
    for read in (json.loads, ast.literal_eval):
        try:
            body: Any = read(bare[: bare.rindex("}") + 1])
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        error = body.get("error", body) if isinstance(body, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(error, dict):
            fields = cast("Mapping[str, Any]", error)
            message, inner = fields.get("message"), fields.get("param")
            if isinstance(message, str):
                return message.strip(), inner if isinstance(inner, str) else param
    return text, param


def _ceiling(text: str) -> int | None:
    found = _CEILING.search(_THOUSANDS.sub(lambda number: number[0].replace(",", ""), text))
    if found is None:
        return None
    number = next(each for each in found.groups() if each is not None)
    if len(number) > len(str(_MAX_CEILING)):
        return None
    return (int(number) - (found["exclusive"] is not None)) or None


_MAX_CEILING = 10_000_000


def _key(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())
