"""The error messages of vendors, without credentials, and their delays in seconds.

Every vendor text that reaches a log, a row or a person comes from `message`.
"""

import email.utils
import math
import socket
from collections.abc import Mapping
from datetime import UTC, datetime

from evalqueue.evaluators.providers.errors import CallOutcome

TEXT_LIMIT = 2_000  # characters
RETRY_AFTER_LIMIT_SECONDS = 120.0

_ADVICE = {
    CallOutcome.AUTH: " (check its credential)",
    CallOutcome.BILLING: " (check its plan, quota and billing)",
    CallOutcome.MODEL_MISSING: " (check the model's name, and the address)",
    CallOutcome.TRUNCATED: " (raise max_output_tokens; reasoning counts towards it)",
}


def message(provider: str, outcome: CallOutcome, text: str, *, credential: str | None) -> str:
    """The vendor, its message, and what to do. Never contains the credential."""
    if credential:
        text = text.replace(credential, "***")
    return f"{provider}: {text}"[:TEXT_LIMIT] + _ADVICE.get(outcome, "")


def is_answer_lost(error: BaseException) -> bool:
    """Whether a connection broke that had been made: not refused, and its host not unknown."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError | socket.gaierror):
            return False
        cause = cause.__cause__
    return True


def retry_after_in_headers(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (seconds, or an HTTP date)."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return _limited(milliseconds / 1000)
    text = headers.get("retry-after", "")
    seconds = _number(text)
    if seconds is not None:
        return _limited(seconds)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return _limited((aware - now).total_seconds())


def retry_after_in_duration(text: str) -> float | None:
    """Seconds of a protobuf duration, as `google.rpc.RetryInfo` has it: `1.5s`."""
    seconds = _number(text.removesuffix("s"))
    return None if seconds is None else _limited(seconds)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _limited(seconds: float) -> float:
    return min(max(seconds, 0.0), RETRY_AFTER_LIMIT_SECONDS)
