"""The outcomes of an LLM call, and the error that carries one.

| outcome | retried | stops the job |
|---|---|---|
| ok, reused | | |
| rate_limited, transient, timeout | yes | no |
| auth, billing, model_missing | no | yes: the next call would fail, too |
| bad_request, context_too_long, content_filter, judge_refused | no | no |
| truncated, schema_invalid, cancelled, no_key, undecided, not_recorded | no | no |

A `rate_limited` call is repeated for as long as the vendor refuses it: it never counts as a try.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from evalqueue.evaluators.providers.provider import Usage, VendorLimits


class CallOutcome(StrEnum):
    """How one LLM call ended. Only `ok` and `reused` can lead to a verdict or a score."""

    OK = "ok"
    REUSED = "reused"
    """No call was made: an earlier run's answer to the same question was taken."""
    RATE_LIMITED = "rate_limited"
    TRANSIENT = "transient"
    TIMEOUT = "timeout"
    AUTH = "auth"
    BILLING = "billing"
    MODEL_MISSING = "model_missing"
    BAD_REQUEST = "bad_request"
    CONTEXT_TOO_LONG = "context_too_long"
    CONTENT_FILTER = "content_filter"
    JUDGE_REFUSED = "judge_refused"
    TRUNCATED = "truncated"
    SCHEMA_INVALID = "schema_invalid"
    CANCELLED = "cancelled"
    NO_KEY = "no_key"
    """Not judged: there is no key, and the simulated provider has no label for the question."""
    UNDECIDED = "undecided"
    """Of several votes on a question: none of the answers has a majority."""
    NOT_RECORDED = "not_recorded"
    """Not judged: the run that is replayed has no answer to the question."""

    @property
    def retryable(self) -> bool:
        return self in _RETRYABLE

    @property
    def stops_the_job(self) -> bool:
        """Whether every later call with this credential and model would end in the same way."""
        return self in _STOPPING


_ALL_OF_IT = 0.9
_RETRYABLE = frozenset({CallOutcome.RATE_LIMITED, CallOutcome.TRANSIENT, CallOutcome.TIMEOUT})
_STOPPING = frozenset({CallOutcome.AUTH, CallOutcome.BILLING, CallOutcome.MODEL_MISSING})


class ProviderError(Exception):
    """An LLM call without a usable answer."""

    def __init__(  # noqa: PLR0913  each is a part of what happened
        self,
        outcome: CallOutcome,
        message: str,
        *,
        retry_after: float | None = None,
        answer: str | None = None,
        usage: Usage | None = None,
        request_id: str | None = None,
        limits: VendorLimits | None = None,
        is_ambiguous: bool = False,
        parameters: Mapping[str, Any] | None = None,
        at_ceiling: bool = False,
        is_billed: bool = False,
        is_answer_lost: bool = False,
    ) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.message = message
        self.is_ambiguous = is_ambiguous
        """Whether it may concern this call only, or every call: a 403 of a gateway, a parameter
        that is not supported. It stops a job only if several threads meet it before any call of
        the run was answered."""
        self.limits = limits
        self.stops_the_job = outcome.stops_the_job and not is_ambiguous
        """Whether the job has to stop. The caller decides this for an ambiguous error."""
        self.retry_after = retry_after
        """Seconds the vendor asked us to wait."""
        self.answer = answer
        """The vendor's text, if there is one (truncated or invalid answers)."""
        self.usage = usage or Usage()
        """The tokens used. Truncated and refused answers are billed, too."""
        self.request_id = request_id
        self.parameters: Mapping[str, Any] = parameters or {}
        """As in `Completion`."""
        self.output_limit: int | None = None
        """How many output tokens were asked for at most, where the caller knows it."""
        self.at_ceiling = at_ceiling
        """Whether the model's own limit of output tokens was asked for: there is no more."""
        self.is_billed = is_billed
        """Whether there was an answer, though none that can be used. It is no outage, so the number
        of tries is limited."""
        self.is_answer_lost = is_answer_lost
        """Whether the request was sent, and its connection broke: the answer may be billed."""

    def has_only_reasoned(self, limit: int) -> bool:
        """Whether the model spent all of its output tokens before it began to answer."""
        reasoning = self.usage.reasoning_tokens or 0
        is_cut = self.outcome is CallOutcome.TRUNCATED and not self.answer
        return is_cut and reasoning >= limit * _ALL_OF_IT
