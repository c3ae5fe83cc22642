"""Errors of endpoints that speak OpenAI's protocol: vendors, gateways, wrappers, local servers.

What an error means is said by its codes, types and class names first, and by the HTTP status only
after that: wrappers answer 400 or 500 to everything, and some put an error into a 200.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

from evalqueue.evaluators.providers.errors import CallOutcome
from evalqueue.evaluators.providers.replies import vendor_limits

_MAX_DEPTH = 6
_MAX_CODES = 50
_CODE_LIMIT = 200  # characters
_OK = 200
_FORBIDDEN = 403
_LIMIT_FAULTS = frozenset({413, 429})
_ABOUT_KEY = re.compile(
    r"api[ _-]?key|credential|permission|access[ _]token|not authorized|unauthorized|"
    r"does not have access|subscription|country|region",
    re.IGNORECASE,
)
_ABOUT_PARAMETER = re.compile(
    r"(?:unsupported|not support|unknown|unrecognized|not permitted|extra field) parameter",
    re.IGNORECASE,
)
_CLIENT_FAULTS = range(400, 500)
_ALL_FAULTS = range(400, 600)
_SERVER_FAULT = 500
_PARAMETER_FAULTS = frozenset({400, 422})
_REQUEST_FAULTS = frozenset({400, 403, 413, 422})


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """What an error says, in any of the known formats."""

    status: int
    """Of the response, or of the error inside a response with status 200."""
    codes: frozenset[str]
    """Its codes, types and class names, without the error that ends a class name: see `key`."""
    text: str
    param: str | None = None
    """The parameter that it says it is about."""

    @classmethod
    def read(cls, status: int, body: str) -> Self:
        """Read an error response."""
        try:
            value: Any = json.loads(body)
        except (ValueError, RecursionError):  # a proxy's page: shown unchanged
            return cls(status=status, codes=frozenset(), text=body or f"no text, status {status}")
        return cls.of(status, value)

    @classmethod
    def of(cls, status: int, value: Any) -> Self:
        """Read the error in a JSON value."""
        fields = list(_levels(value))
        text = next(filter(None, map(_text, fields)), None) or _as_text(value)
        codes = [code for level in fields for code in _codes(level)][:_MAX_CODES]
        codes += _CLASS_NAME.findall(_class_names(text))
        known = frozenset(key(code) for code in codes)
        numbers = [int(code) for code in codes if code.isdecimal() and len(code) <= len("500")]
        if status == _OK:
            status = next((each for each in numbers if each in _ALL_FAULTS), _SERVER_FAULT)
        param = next((each["param"] for each in fields if _is_text(each.get("param"))), None)
        return cls(status=status, codes=known - {""}, text=text, param=param or _location(fields))

    @property
    def outcome(self) -> CallOutcome:
        """What it means for the call."""
        outcome = self._limit_outcome() or self._code_outcome() or self._text_outcome()
        if outcome is not None:
            return outcome
        if self.status >= _SERVER_FAULT:
            return CallOutcome.TRANSIENT
        return _BY_STATUS.get(self.status, CallOutcome.BAD_REQUEST)

    def _limit_outcome(self) -> CallOutcome | None:
        """What a limit means that waiting does not help with."""
        if self.status not in _LIMIT_FAULTS or self.codes & _BY_CODE[CallOutcome.BILLING]:
            return None
        if vendor_limits.is_too_large(self.text):
            return CallOutcome.CONTEXT_TOO_LONG
        return CallOutcome.BILLING if vendor_limits.is_per_day(self.text) else None

    def _code_outcome(self) -> CallOutcome | None:
        for meaning, codes in _BY_CODE.items():
            if self.codes & codes:
                return meaning
        is_servers = self.codes & _SERVERS_OWN and self.status not in _CLIENT_FAULTS
        return CallOutcome.TRANSIENT if is_servers or self.codes & _OVERLOADED else None

    def _text_outcome(self) -> CallOutcome | None:
        """For servers that give no code. A text never says more than why this request failed."""
        if self.status not in _REQUEST_FAULTS:
            return None
        if _TOO_LONG.search(self.text):
            return CallOutcome.CONTEXT_TOO_LONG
        return CallOutcome.CONTENT_FILTER if _FILTERED.match(_bare(self.text)) else None

    @property
    def is_ambiguous(self) -> bool:
        """Whether it may concern this call only: a gateway's 403, a parameter that is refused."""
        if self.outcome is CallOutcome.AUTH:
            # A page of a firewall has no codes, and speaks of permission as well.
            named = self.codes and _ABOUT_KEY.search(" ".join((self.text, *self.codes)))
            is_known = self.codes & _BY_CODE[CallOutcome.AUTH]
            return self.status == _FORBIDDEN and not (named or is_known)
        about_parameter = self.codes & _PARAMETER_CODES or _ABOUT_PARAMETER.search(self.text)
        return self.outcome is CallOutcome.BAD_REQUEST and bool(about_parameter)

    @property
    def is_about_request(self) -> bool:
        """Whether it may be about a parameter of the request."""
        return self.status in _PARAMETER_FAULTS or bool(self.codes & _PARAMETER_CODES)


def key(code: str) -> str:
    """A code as it is compared: `ContentPolicyViolationError` is `content_policy_violation`."""
    return re.sub(r"[^a-z]", "", code.lower()).removesuffix("exception").removesuffix("error")


def _keys(*codes: str) -> frozenset[str]:
    return frozenset(map(key, codes))


# In the order in which they count: what concerns this request only comes first.
_BY_CODE: Mapping[CallOutcome, frozenset[str]] = {
    CallOutcome.CONTENT_FILTER: _keys(
        "content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation",
        "ContentPolicyViolationError", "ContentFilterFinishReasonError", "moderation_blocked",
        "data_inspection_failed", "DataInspectionFailed", "flagged_input", "safety_violation",
        "content_blocked", "guardrail_intervened", "prompt_blocked", "cyber_policy_violation",
    ),
    CallOutcome.CONTEXT_TOO_LONG: _keys(
        "context_length_exceeded", "exceed_context_size_error", "ContextWindowExceededError",
        "string_above_max_length", "request_too_large", "prompt_too_long", "input_too_long",
        "context_window_exceeded", "max_context_length_exceeded", "tokens_limit_reached",
    ),
    CallOutcome.BILLING: _keys(
        "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error",
        "insufficient_balance", "insufficient_credits", "payment_required", "BudgetExceededError",
        "budget_exceeded", "Arrearage",
    ),
    CallOutcome.AUTH: _keys(
        "invalid_api_key", "authentication_error", "AuthenticationError", "auth_error",
        "invalid_authentication", "PermissionDeniedError", "permission_error",
        "incorrect_api_key", "account_deactivated", "expired_key", "token_not_found_in_db",
    ),
    CallOutcome.MODEL_MISSING: _keys(
        "model_not_found", "DeploymentNotFound", "model_not_available", "model_not_supported",
        "unknown_model", "invalid_model", "not_found_error", "NotFoundError",
        "OperationNotSupported", "model_decommissioned", "key_model_access_denied",
    ),
    CallOutcome.RATE_LIMITED: _keys(
        "rate_limit_exceeded", "rate_limit_error", "RateLimitError", "too_many_requests",
        "RateLimitReached", "throttling_error", "Throttling",
    ),
}  # fmt: skip
_OVERLOADED = _keys(
    "overloaded_error", "engine_overloaded", "ServiceUnavailableError", "service_unavailable",
    "server_overloaded", "json_validate_failed", "APIConnectionError", "BadGatewayError",
    "Timeout", "upstream_error",
)  # fmt: skip
_SERVERS_OWN = _keys(
    "server_error", "InternalServerError", "api_error", "APIError", "internal_error"
)
_PARAMETER_CODES = _keys(
    "unsupported_parameter", "unsupported_value", "unknown_parameter", "UnsupportedParamsError"
)
_BY_STATUS = {
    401: CallOutcome.AUTH,
    402: CallOutcome.BILLING,
    403: CallOutcome.AUTH,
    404: CallOutcome.MODEL_MISSING,
    408: CallOutcome.TRANSIENT,
    409: CallOutcome.TRANSIENT,
    413: CallOutcome.CONTEXT_TOO_LONG,
    425: CallOutcome.TRANSIENT,
    429: CallOutcome.RATE_LIMITED,
}
_TOO_LONG = re.compile(
    r"maximum context length|context (?:length|window|size) (?:is |was )?(?:exceeded|of \d)|"
    r"(?:exceed\w{0,3}|longer than|larger than|beyond|greater than) (?:the )?"
    r"(?:\w{1,30}[ '’]{1,3}){0,4}context (?:length|window|size)|(?:prompt|input) is too long|"
    r"input token count .{0,40}exceeds|too many (?:input )?tokens",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"the response was filtered due to the prompt|"
    r"your chosen model requires moderation and your input was flagged|"
    r"(?:the|your) (?:prompt|input|request) "
    r"(?:was|has been|triggered) .{0,60}(?:content (?:management )?policy|flagged|moderation)",
    re.IGNORECASE,
)
_CLASS_NAME = re.compile(r"(?<![A-Za-z])[A-Za-z]++(?:(?<=[A-Za-z]Error)|(?<=[A-Za-z]Exception))\b")
_CLASS_NAMES = re.compile(
    r"(?:(?:[\w.]*(?:Error|Exception)|Error code: \d+)\s*[:-]\s*|"
    r"[A-Z]\w*(?:Exception|Error) - )+"
)
_NESTED = (
    "error", "errors", "innererror", "inner_error", "provider_specific_fields", "metadata",
    "details", "detail", "cause", "raw",
)  # fmt: skip
_CODES = ("code", "type", "reason", "error_code", "error_type", "class")
_MESSAGES = ("message", "msg", "detail", "error_message", "error_msg", "error", "raw")
# Fields that only an error of one kind has.
_TELLING = ("flagged_input",)


def _levels(value: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """The objects of an error, the outermost first."""
    if depth > _MAX_DEPTH:
        return
    match value:
        case dict():
            fields = cast("Mapping[str, Any]", value)
            yield fields
            for name in _NESTED:
                yield from _levels(fields.get(name), depth + 1)
        case list():
            for each in cast("list[Any]", value)[:_MAX_CODES]:
                yield from _levels(each, depth + 1)
        case str() if value.lstrip().startswith("{"):  # a gateway quotes the vendor's body
            try:
                yield from _levels(json.loads(value), depth + 1)
            except (ValueError, RecursionError):
                return
        case _:
            return


def _codes(fields: Mapping[str, Any]) -> Iterator[str]:
    for name in _CODES:
        value = fields.get(name)
        if isinstance(value, str) and value and len(value) <= _CODE_LIMIT:
            yield value
        elif isinstance(value, int) and not isinstance(value, bool):
            yield str(value)
    yield from (name for name in _TELLING if name in fields)


def _text(fields: Mapping[str, Any]) -> str | None:
    return next((fields[name] for name in _MESSAGES if _is_text(fields.get(name))), None)


def _location(fields: list[Mapping[str, Any]]) -> str | None:
    """The parameter by FastAPI's `loc`: ["body", "temperature"]."""
    for each in fields:
        match each.get("loc"):
            case [*_, str() as last]:
                return last
            case _:
                pass
    return None


def _class_names(text: str) -> str:
    """The chain of class names that a wrapper puts before a message."""
    found = _CLASS_NAMES.match(text)
    return found[0] if found else ""


def _bare(text: str) -> str:
    """The message after the chain of class names."""
    return text[len(_class_names(text)) :]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _as_text(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "an error without a text"
