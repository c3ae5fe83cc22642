"""The JSON of a run's statistics."""

from typing import Any
from uuid import UUID

from evalqueue.evaluators.judging.scores import ScoreKind
from evalqueue.http.models.fields import Dollars, EstimateJson, Model, Moment
from evalqueue.http.models.figures.evaluators import EvaluatorDeclarationJson
from evalqueue.http.models.jobs import RunStatus


class Covered(Model):
    """How many answers an evaluator was to find, and how many it found."""

    judged: int
    attempted: int
    rate: float | None


class MissingScoresJson(Model):
    """How many scores are missing for a reason."""

    evaluator: str
    reason: str
    count: int
    example: str | None
    """One of the messages."""


class LabelShareJson(Model):
    """How much of what was measured has a label, with the 95 % interval of the share.

    Null: nothing was measured. Turns of one conversation are alike, which the interval knows.
    """

    label: str
    count: int
    share: float | None
    low: float | None
    high: float | None


class MeanJson(Model):
    """A mean with its 95 % interval."""

    mean: float
    low: float | None
    """Null: one conversation does not show how much they differ."""
    high: float | None
    lowest: float
    highest: float


class ConfusionJson(Model):
    """Which labels on record were taken for which."""

    labels: list[str]
    """The most frequent first, at most 30; the rest of more is the last, `other`."""
    matrix: list[list[int]]
    """A row for each label expected, a column for each predicted."""


class ScoreStatisticsJson(Model):
    """What one score of one version of an evaluator came to."""

    name: str
    title: str
    kind: ScoreKind
    per_turn: bool
    version: str | None
    """Null: nothing was measured yet. Scores of two versions are never counted together."""
    measured: int
    """Values: of conversations, or of turns."""
    threads: int
    """Conversations with a value."""
    failed: int
    """Values that are missing for a reason."""
    shares: list[LabelShareJson]
    """Of a category or boolean, in the declared order."""
    mean: MeanJson | None
    """Of a number; null: none was measured."""
    confusion: ConfusionJson | None


class EvaluatorStatisticsJson(Model):
    """What one evaluator found in the conversations of a run so far."""

    declaration: EvaluatorDeclarationJson
    coverage: Covered
    scores: list[ScoreStatisticsJson]
    """Of each version one after the other, where a run has several."""


class BatchStatisticsJson(Model):
    """What was found in the conversations of a run so far."""

    threads: int
    failed: int
    """Nothing at all could be measured in them."""
    evaluators: list[EvaluatorStatisticsJson]
    """In their order; each stands for what the run asked of every conversation."""
    coverage: dict[str, Covered]
    failures: list[MissingScoresJson]
    """The most frequent first."""


class EvaluatorCallsJson(Model):
    """The LLM calls of one evaluator, every attempt one."""

    evaluator: str
    calls: int
    failed_calls: int
    reused_calls: int
    """Calls that were not made, since an earlier run's answer was taken; not in `calls`."""
    p50_ms: float | None
    """Of the calls that got an answer; null: there is none."""
    p95_ms: float | None
    max_ms: float | None
    tokens_in: int | None
    """Null: no call reported any."""
    tokens_out: int | None
    cost_usd: Dollars | None
    """Of the calls whose price is known; null: of none."""
    unpriced_calls: int


class LatenciesJson(Model):
    """How many answered calls took how long: the n-th count is between the n-th edge and the next.

    What took less than 1 ms is in the first bin.
    """

    edges_ms: list[float]
    counts: dict[str, list[int]]
    """By evaluator."""


class StretchJson(Model):
    """The LLM calls that began within a stretch of time; it ends where the next one begins."""

    at: Moment
    calls: int
    failed_calls: int
    tokens_in: int | None
    tokens_out: int | None


class LlmStatisticsJson(Model):
    """What the LLM calls of a run came to so far."""

    calls: int
    failed_calls: int
    reused_calls: int
    tokens_in: int | None
    """Null: no call reported any."""
    tokens_out: int | None
    cost_usd: Dollars | None
    """Of the calls whose price is known; null: of none."""
    unpriced_calls: int
    """Calls with tokens, of a model whose price is unknown."""
    evaluators: list[EvaluatorCallsJson]
    latency: LatenciesJson
    timeline: list[StretchJson]
    """Equal stretches from the first call to the last, at most 120."""


class EstimateErrorsJson(Model):
    """By how much an estimate was too high (above 0) or too low, as a part of what was used; null:
    it was not estimated, or is not known."""

    tokens: float | None
    """In and out together."""
    cost_usd: float | None


class RunStatistics(Model):
    """The figures of a run so far, all of the same moment."""

    run_id: UUID
    command: str
    status: RunStatus
    total_items: int | None
    batch: BatchStatisticsJson | None
    """Null: the run is of another kind."""
    adversarial: dict[str, Any] | None
    """As the summary of an adversarial test; null: the run is of another kind."""
    llm: LlmStatisticsJson
    estimate: EstimateJson | None
    """What its calls might use, as it was estimated before the first one; null: it was not."""
    estimate_errors: EstimateErrorsJson | None
    """Null: the run is not completed, nothing was estimated, or answers were reused."""
