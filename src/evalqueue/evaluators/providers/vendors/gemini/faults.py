"""The errors of Gemini's endpoints."""

import re
from collections.abc import Mapping
from typing import Any

from google.genai import errors
from pydantic import BaseModel, ValidationError

from evalqueue.evaluators.providers.errors import CallOutcome
from evalqueue.evaluators.providers.replies import vendor_errors, vendor_limits

_BY_STATUS = {
    401: CallOutcome.AUTH,
    402: CallOutcome.BILLING,
    403: CallOutcome.AUTH,
    404: CallOutcome.MODEL_MISSING,
    408: CallOutcome.TRANSIENT,
    409: CallOutcome.TRANSIENT,
    413: CallOutcome.CONTEXT_TOO_LONG,
    429: CallOutcome.RATE_LIMITED,
}
_SERVER_FAULT = 500
_FIELD_VIOLATION = re.compile(r"Invalid JSON payload received\. ")
_TOO_LONG = re.compile(r"token count .* exceeds|too many tokens", re.IGNORECASE)


class _Violation(BaseModel):
    quotaId: str = ""  # noqa: N815  # the vendor's spelling
    quotaValue: str | int | float = ""  # noqa: N815  # the vendor's spelling


class ErrorDetail(BaseModel):
    """One of the `google.rpc` details of an error: ErrorInfo has a reason, RetryInfo a delay,
    QuotaFailure the quotas that are used up."""

    reason: str | None = None
    retryDelay: str | None = None  # noqa: N815  # the vendor's spelling
    violations: list[_Violation] = []


class _Error(BaseModel):
    details: list[ErrorDetail] = []


class _Envelope(_Error):
    error: _Error | None = None


def error_code(error: Mapping[str, Any]) -> int:
    """The status of an error that came with status 200."""
    code = error.get("code")
    return code if isinstance(code, int) and not isinstance(code, bool) else _SERVER_FAULT


def without_path(text: str) -> str:
    """Google's messages name a field by its path: `Unknown name "x" at 'generation_config'`."""
    return _FIELD_VIOLATION.sub("", text)


def details_of(error: errors.APIError) -> list[ErrorDetail]:
    try:
        body = _Envelope.model_validate(error.details)  # pyright: ignore[reportUnknownMemberType]  # untyped JSON
    except ValidationError:  # a proxy's page, not Gemini's error
        return []
    return (body.error or body).details


def classify(
    code: int, status: str, text: str, details: list[ErrorDetail], *, characters: int
) -> CallOutcome:
    """What an error means for a request of so many characters."""
    reasons = {detail.reason for detail in details}
    if reasons & {"API_KEY_INVALID", "API_KEY_EXPIRED"}:
        return CallOutcome.AUTH
    if "BILLING_DISABLED" in reasons or (
        status == "FAILED_PRECONDITION" and "billing" in text.lower()
    ):
        return CallOutcome.BILLING
    if status == "RESOURCE_EXHAUSTED":  # under 429 or 503
        return _exhausted(quotas(details), characters)
    if code >= _SERVER_FAULT:
        return CallOutcome.TRANSIENT
    if status == "INVALID_ARGUMENT" and _TOO_LONG.search(text):
        return CallOutcome.CONTEXT_TOO_LONG
    return _BY_STATUS.get(code, CallOutcome.BAD_REQUEST)


def _exhausted(used_up: list[tuple[str, str]], characters: int) -> CallOutcome:
    if vendor_limits.is_beyond(characters, vendor_limits.limits_of_quotas(used_up)):
        return CallOutcome.CONTEXT_TOO_LONG
    is_daily = any(vendor_limits.is_per_day(name) for name, _ in used_up)
    return CallOutcome.BILLING if is_daily else CallOutcome.RATE_LIMITED


def retry_after(details: list[ErrorDetail]) -> float | None:
    delays = [detail.retryDelay for detail in details if detail.retryDelay]
    return vendor_errors.retry_after_in_duration(delays[0]) if delays else None


def quotas(details: list[ErrorDetail]) -> list[tuple[str, str]]:
    """The names and values of the quotas that are used up."""
    return [(each.quotaId, str(each.quotaValue)) for one in details for each in one.violations]
