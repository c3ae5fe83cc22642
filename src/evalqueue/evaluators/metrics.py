"""What evaluations do, as metrics: LLM calls, their tokens and cost, and verdicts."""

from decimal import Decimal

from evalqueue.evaluators.providers.errors import CallOutcome
from evalqueue.evaluators.providers.recorder import CallRecord
from evalqueue.metrics.registry import BoundedNames, Metrics

SCORED = "scored"
NOT_APPLICABLE = "not_applicable"
FAILURES_MAX = 30

_OF_MODEL = ("provider", "model")
_CALL_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
_WAIT_BUCKETS = (0.001, 0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 1800)


class EvaluationMetrics:
    """Counts LLM calls as they are stored in `api_logs`, and verdicts as they are stored."""

    def __init__(self, metrics: Metrics) -> None:
        self._calls = metrics.counter(
            "evalqueue_llm_calls_total",
            "LLM calls on record; rate_limited are 429s, reused were not made.",
            outside=_OF_MODEL,
            labels=("outcome",),
        )
        self._input = metrics.counter(
            "evalqueue_llm_input_tokens_total", "Tokens of prompts.", outside=_OF_MODEL
        )
        self._cached = metrics.counter(
            "evalqueue_llm_cached_input_tokens_total",
            "Those of them that the vendor had cached.",
            outside=_OF_MODEL,
        )
        self._output = metrics.counter(
            "evalqueue_llm_output_tokens_total", "Tokens of answers.", outside=_OF_MODEL
        )
        self._cost = metrics.counter(
            "evalqueue_llm_cost_usd_total", "Cost in US dollars, where known.", outside=_OF_MODEL
        )
        self._unpriced = metrics.counter(
            "evalqueue_llm_unpriced_calls_total",
            "Calls with tokens whose cost is not known.",
            outside=_OF_MODEL,
        )
        self._duration = metrics.histogram(
            "evalqueue_llm_call_seconds",
            "Time of a call that was made, whatever its outcome; without batches.",
            buckets=_CALL_BUCKETS,
            outside=_OF_MODEL,
        )
        self._wait = metrics.histogram(
            "evalqueue_llm_wait_seconds",
            "How long a call waited for the rate limits, by the model that is asked.",
            buckets=_WAIT_BUCKETS,
            outside=_OF_MODEL,
        )
        self._verdicts = metrics.counter(
            "evalqueue_scores_total",
            "Rows of scores that were stored, several for each verdict: scored, not_applicable, or "
            "why there is none.",
            outside=("evaluator",),
            labels=("outcome",),
        )
        self._failures = BoundedNames(FAILURES_MAX)

    def called(self, call: CallRecord, cost_usd: Decimal | None) -> None:
        """A call was stored. `cost_usd`: None: it is not known."""
        model = (call.provider, call.model)
        usage = call.usage
        self._calls.of(*model, call.outcome).inc()
        if call.outcome is not CallOutcome.REUSED and not call.is_batched:
            self._duration.of(*model).observe(call.duration_ms / 1000)
        if usage.input_tokens is not None:
            self._input.of(*model).inc(usage.input_tokens)
        if usage.cached_tokens is not None:
            self._cached.of(*model).inc(usage.cached_tokens)
        if usage.output_tokens is not None:
            self._output.of(*model).inc(usage.output_tokens)
        if cost_usd is not None:
            self._cost.of(*model).inc(float(cost_usd))
        elif usage.input_tokens is not None or usage.output_tokens is not None:
            self._unpriced.of(*model).inc()

    def waited(self, provider: str, model: str, seconds: float) -> None:
        """A call got its turn."""
        self._wait.of(provider, model).observe(seconds)

    def judged(self, evaluator: str, *, has_value: bool, failure: str | None) -> None:
        """A verdict was stored: a value, a failure, or neither if there was nothing to judge."""
        outcome = SCORED if has_value else NOT_APPLICABLE
        if failure is not None:
            (outcome,) = self._failures.bounded((failure,))
        self._verdicts.of(evaluator, outcome).inc()
