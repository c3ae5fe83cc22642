"""The configuration of the simulated vendor."""

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

from evalqueue.evaluators.simulated.vendor.answers import Json
from evalqueue.evaluators.simulated.vendor.batches.book import BatchOptions
from evalqueue.evaluators.simulated.vendor.limits import LimitKind, LimitOptions, RetryAdvice
from evalqueue.evaluators.simulated.vendor.protocols.protocol import VendorFault


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """The configuration of the simulated vendor. Rates are shares of requests, from 0 to 1."""

    seed: int = 0
    latency_ms: float = 0.0
    """The median latency."""
    latency_sigma: float = 0.0
    """Sigma of the lognormal distribution of latencies; 0: always the median."""
    rate_429: float = 0.0
    retry_after_seconds: float | None = None
    rate_500: float = 0.0
    rate_malformed: float = 0.0
    rate_refusal: float = 0.0
    rate_silent: float = 0.0
    """The share of requests without an answer."""
    only_gold: bool = False
    """Whether a question without a gold label is not judged, instead of getting a guess."""
    error_rate: float = 0.0
    """The share of gold labels that the judge gets wrong."""
    flip_rate: float = 0.0
    """The share of answers with another label, drawn anew each time that a question is repeated."""
    unknown_parameters: frozenset[str] = frozenset()
    """Parameters of the OpenAI protocol that get HTTP 400.

    Possible members: json_schema, temperature, max_tokens, max_completion_tokens.
    """
    context_tokens: int | None = None
    """What the model reads at most. None: no limit."""
    limit_requests: int | None = None
    """Requests in a window of one key and model. None: no limit."""
    limit_tokens: int | None = None
    """Tokens in a window: those of the prompt, and as many as `limit_output_tokens` says."""
    limit_output_tokens: int = 100
    """What each request counts against `limit_tokens` besides its prompt."""
    limit_window_seconds: float = 60.0
    limit_kind: LimitKind = LimitKind.BUCKET
    limit_burst_seconds: float | None = None
    """What a bucket holds, in seconds of its refill. None: as much as a window."""
    limit_halved_after: int | None = None
    """The number of requests after which the limits are half of that."""
    limit_requests_per_day: int | None = None
    retry_advice: RetryAdvice = RetryAdvice.NONE
    """How a refusal over a limit says when to come back."""
    limit_headers: bool = False
    """Whether answers carry `x-ratelimit-…` headers."""
    limit_named: bool = False
    """Whether a refusal names the limit."""
    forbidden: str | None = None
    """A prompt with this text is answered with the page of a firewall, status 403."""
    batch_delay_seconds: float = 0.0
    """From the creation of a batch to its end."""
    batch_failed_rate: float = 0.0
    """The share of the questions of a batch that fail with a server error."""
    batches_expiring: int = 0
    """So many batches, from the first, expire when half of their questions are answered."""
    without_batches: bool = False
    """Whether this is an endpoint without files and batches."""
    gold: Json | Path | None = None
    """Labels by evaluator, thread and turn; None: those of the bundled conversations."""

    @property
    def limits(self) -> LimitOptions:
        return LimitOptions(
            requests=self.limit_requests,
            tokens=self.limit_tokens,
            window_seconds=self.limit_window_seconds,
            kind=self.limit_kind,
            burst_seconds=self.limit_burst_seconds,
            halved_after_requests=self.limit_halved_after,
            requests_per_day=self.limit_requests_per_day,
        )

    @property
    def batches(self) -> BatchOptions:
        return BatchOptions(
            seed=self.seed,
            delay_seconds=self.batch_delay_seconds,
            failed_rate=self.batch_failed_rate,
            expiring=self.batches_expiring,
        )

    def fault(self, draw: float) -> VendorFault | None:
        """The fault for a draw in [0, 1)."""
        for rate, fault in (
            (self.rate_429, VendorFault.RATE_LIMITED),
            (self.rate_500, VendorFault.SERVER_ERROR),
            (self.rate_malformed, VendorFault.MALFORMED),
            (self.rate_refusal, VendorFault.REFUSAL),
            (self.rate_silent, VendorFault.SILENT),
        ):
            if draw < rate:
                return fault
            draw -= rate
        return None

    def latency_seconds(self, draw: float) -> float:
        """The latency for a draw in [0, 1)."""
        if self.latency_sigma == 0:
            return self.latency_ms / 1000
        normal = NormalDist().inv_cdf(min(max(draw, 1e-9), 1 - 1e-9))
        return self.latency_ms / 1000 * math.exp(self.latency_sigma * normal)
