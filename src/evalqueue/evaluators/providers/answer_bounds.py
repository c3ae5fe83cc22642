"""What an endpoint's response may be: no redirect, not compressed, and of a bounded size.

A redirect would take the credential to another host. A small compressed body can be gigabytes in
memory, and an answer of a judge is a few kilobytes.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError

ANSWER_MAX_BYTES = 8 * 1024 * 1024
FILE_MAX_BYTES = 4 * 1024 * 1024 * 1024
"""Of the results of a batch, which are read as a stream."""
REQUEST_HEADERS: Mapping[str, str] = {"Accept-Encoding": "identity"}


class AnswerRefused(Exception):
    """A response that is not read."""

    def __init__(self, outcome: CallOutcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome

    def as_provider_error(self, message: str) -> ProviderError:
        """The call's error with this message, which has no credential in it."""
        error = ProviderError(
            self.outcome, message, is_ambiguous=self.outcome is CallOutcome.MODEL_MISSING
        )
        error.is_answer_lost = self.outcome is CallOutcome.TRANSIENT
        return error


def check_head(status: int, headers: Mapping[str, str]) -> None:
    """Look at a response before its body is read.

    Raises:
        AnswerRefused: the body is not to be read.
    """
    if 300 <= status < 400:  # noqa: PLR2004  redirection
        host = urlsplit(headers.get("location", "")).netloc.rpartition("@")[2] or "another path"
        raise AnswerRefused(
            CallOutcome.MODEL_MISSING,
            f"HTTP {status}, a redirect to {host}: redirects are not followed, as the credential "
            "is for this address only",
        )
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise AnswerRefused(
            CallOutcome.TRANSIENT,
            f"the answer is compressed ({encoding[:20]}), which the request does not accept",
        )


def check_size(size_bytes: int, limit_bytes: int = ANSWER_MAX_BYTES) -> None:
    """Look at how much of a body was read so far.

    Raises:
        AnswerRefused: it is too much.
    """
    if size_bytes > limit_bytes:
        limit = limit_bytes // 1024**2
        raise AnswerRefused(CallOutcome.TRANSIENT, f"the answer is larger than {limit} MiB")
