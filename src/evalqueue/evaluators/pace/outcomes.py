"""How the calls of one process ended: what is reported next, and averages of what calls take."""

import math

from evalqueue.evaluators.pace.calls import SMOOTHING, Averages, PacedTurn
from evalqueue.evaluators.pace.ledger import Grant, Report
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import Completion

ADMITTED_AFTER_SECONDS = (0.25, 2.0)  # without a refusal; at least, at most


class PendingReport:
    """What happened since the last report."""

    def __init__(self) -> None:
        self.report = Report()
        self.averages = Averages()

    def take(self, grant: Grant | None) -> Report:
        """What is to be reported. Counting begins anew."""
        report, self.report = self.report, Report()
        report.epoch = 0 if grant is None else grant.epoch
        return report

    def failures(self, grant: Grant | None) -> int:
        """Calls in a row that the endpoint did not answer."""
        known = 0 if grant is None else grant.failures
        return self.report.failed + (0 if self.report.succeeded else known)

    def call_rate(self, grant: Grant) -> float:
        """Calls a second, of the size that they have here."""
        if grant.token_rate is None or self.averages.tokens <= 0:
            return grant.rate
        return min(grant.rate, grant.token_rate / self.averages.tokens)

    def note_limits(self, result: Completion | ProviderError | None) -> None:
        """Note the limits that the vendor names."""
        if result is not None and result.limits is not None:
            self.report.limits = result.limits

    def note_answer(self, turn: PacedTurn, result: Completion | ProviderError, now: float) -> None:
        """Count a call that was admitted, whatever the answer was."""
        usage = result.usage
        self.averages.note_answer(now - turn.began, usage.output_tokens)
        if is_too_large(result):
            self.report.token_change -= turn.tokens
        elif usage.input_tokens is not None:
            used = usage.input_tokens + (usage.output_tokens or 0)
            self.report.token_change += used - turn.tokens
        if not turn.counts_as_admitted:
            self.report.answered += 1

    def note_failure(self, error: ProviderError) -> None:
        """Count a call that the endpoint did not answer."""
        self.report.failed += 1
        self.report.reason = error.message

    def note_refusal_latency(self, seconds: float) -> None:
        self.averages.refusal_latency += SMOOTHING * (seconds - self.averages.refusal_latency)

    def note_refusal(self, error: ProviderError) -> None:
        """Count a refusal of a call of this epoch."""
        report = self.report
        report.refused += 1
        report.reason = error.message
        if error.retry_after is not None:
            report.retry_after = max(report.retry_after or 0.0, error.retry_after)

    def admitted_after_seconds(self, grant: Grant) -> float:
        """After how long without a refusal the call that is made alone counts as admitted.

        A refusal comes quickly, be it for a rate limit or for a wrong key, and an answer may take
        minutes. Only an endpoint that failed has to answer.
        """
        if grant.pause_kind == "failed":
            return math.inf
        least, most = ADMITTED_AFTER_SECONDS
        if grant.pause_kind != "refused":
            return most
        return min(max(4 * self.averages.refusal_latency, least), most)

    def note_admitted_probe(self, probe: PacedTurn, grant: Grant) -> None:
        """Count the call that is made alone before it is answered."""
        self.report.probe = "answered"
        if grant.pause_kind == "refused":
            probe.counts_as_admitted = True
            self.report.answered += 1


def is_unanswered(result: Completion | ProviderError | None) -> bool:
    """Whether the endpoint failed to answer, and so the breaker counts it."""
    return isinstance(result, ProviderError) and result.outcome.retryable and not result.is_billed


def is_refused(result: Completion | ProviderError | None) -> bool:
    """Whether a rate limit refused the call."""
    return isinstance(result, ProviderError) and result.outcome is CallOutcome.RATE_LIMITED


def is_too_large(result: Completion | ProviderError | None) -> bool:
    """Whether the call was refused for its size, and so took no tokens of the allowance."""
    return isinstance(result, ProviderError) and result.outcome is CallOutcome.CONTEXT_TOO_LONG


def may_concern_all(result: Completion | ProviderError) -> bool:
    """Whether an error may concern every call: the next one is then made alone as well."""
    return isinstance(result, ProviderError) and (result.stops_the_job or result.is_ambiguous)
