"""The limits that vendors name: in headers, in OpenAI's messages, in Gemini's quota violations.

Formats: https://platform.openai.com/docs/guides/rate-limits,
https://learn.microsoft.com/azure/ai-foundry/openai/quotas-limits, and `google.rpc.QuotaFailure` of
https://ai.google.dev/gemini-api/docs/rate-limits. A limit per day is no pace: `is_per_day` tells it
apart, since what is used up for the day ends a job.
"""

import math
import re
from collections.abc import Iterable, Mapping

from evalqueue.evaluators.providers.provider import VendorLimits

MINUTE_SECONDS = 60.0
_LONGEST_RESET_SECONDS = 120.0
"""A limit whose allowance needs longer to come back is not one per minute."""

_MOST_CHARACTERS_PER_TOKEN = 8
"""Twice the usual number: what is beyond a limit by this is beyond it for certain."""

_RESET = re.compile(
    r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
_IN_MESSAGE = re.compile(
    r"(requests|tokens) per (min|minute|day)\b[^:]*: *limit:? *([\d_,]+)", re.IGNORECASE
)
_PER_DAY = re.compile(r"\b(?:per[ _-]?day|RPD|TPD|daily (?:limit|quota))\b", re.IGNORECASE)
_TOO_LARGE = re.compile(r"request too large", re.IGNORECASE)
_AMOUNTS = re.compile(r"\blimit:? *([\d_,]+)\b.{0,80}?\brequested:? *([\d_,]+)", re.IGNORECASE)


def limits_in_headers(headers: Mapping[str, str]) -> VendorLimits | None:
    """The limits per minute by `x-ratelimit-limit-*`. None: the headers name none."""
    return _limits(
        _per_second(headers, "requests"),
        _per_second(headers, "tokens"),
    )


def limits_in_message(text: str) -> VendorLimits | None:
    """The limits per minute that OpenAI's message about a refusal names."""
    found = {
        kind.lower(): _amount(amount) / MINUTE_SECONDS
        for kind, period, amount in _IN_MESSAGE.findall(text)
        if not period.lower().startswith("day")
    }
    return _limits(found.get("requests"), found.get("tokens"))


def limits_of_quotas(quotas: Iterable[tuple[str, str]]) -> VendorLimits | None:
    """The limits per minute of Gemini's violated quotas: pairs of `quotaId` and `quotaValue`."""
    requests = tokens = None
    for name, value in quotas:
        amount = _positive(value)
        if amount is None or "PerMinute" not in name:
            continue
        if "Token" in name:
            tokens = amount / MINUTE_SECONDS
        else:
            requests = amount / MINUTE_SECONDS
    return _limits(requests, tokens)


def is_per_day(text: str) -> bool:
    """Whether a message or a quota's name is about a limit per day."""
    return "PerDay" in text or _PER_DAY.search(text) is not None


def is_too_large(text: str) -> bool:
    """Whether one request alone is over the limit, so that waiting does not help: in words, or by
    its numbers ("Limit 30000, Used 0, Requested 45210")."""
    amounts = _AMOUNTS.search(text)
    is_over = amounts is not None and _amount(amounts[2]) > _amount(amounts[1])
    return is_over or _TOO_LARGE.search(text) is not None


def is_beyond(characters: int, limits: VendorLimits | None) -> bool:
    """Whether a request has more tokens than a minute allows, however long its tokens are."""
    if limits is None or limits.tokens_per_second is None:
        return False
    return characters / _MOST_CHARACTERS_PER_TOKEN > limits.tokens_per_second * MINUTE_SECONDS


def seconds_in(text: str) -> float | None:
    """Seconds of a delay as vendors write it: `6m0s`, `1.5s`, `20ms`, `12`."""
    plain = _positive(text)
    if plain is not None:
        return plain
    found = _RESET.fullmatch(text.strip())
    if found is None or not found[0]:
        return None
    days, hours, minutes, seconds, milliseconds = (float(each or 0) for each in found.groups())
    return days * 86_400 + hours * 3_600 + minutes * 60 + seconds + milliseconds / 1_000


def _limits(requests: float | None, tokens: float | None) -> VendorLimits | None:
    if requests is None and tokens is None:
        return None
    return VendorLimits(requests_per_second=requests, tokens_per_second=tokens)


def _per_second(headers: Mapping[str, str], what: str) -> float | None:
    limit = _positive(headers.get(f"x-ratelimit-limit-{what}", "0"))
    if limit is None:
        return None
    reset = seconds_in(headers.get(f"x-ratelimit-reset-{what}", ""))
    if reset is not None and reset > _LONGEST_RESET_SECONDS:
        return None
    return limit / MINUTE_SECONDS


def _amount(written: str) -> float:
    """A number with separators of thousands: 30,000."""
    return float(re.sub(r"[_,]", "", written) or 0)


def _positive(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None
