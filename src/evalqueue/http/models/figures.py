"""The JSON of figures: what a run comes to, row by row and in sum. Null is "not measured"."""

from typing import Any
from uuid import UUID

from pydantic import Field

from evalqueue.evaluators.verdicts import (
    Correctness,
    Difficulty,
    Efficiency,
    StopReason,
    StressVerdict,
)
from evalqueue.http.models.fields import Model, Moment, Offset, RunId
from evalqueue.http.models.jobs import ApiLog, RunStatus, ThreadEvaluation

# What is asked


class OutcomesQuery(RunId):
    after: Offset = 0
    """The last `id` of the page before."""
    limit: int = Field(1000, ge=1, le=5000)


class TrialsQuery(OutcomesQuery):
    pass


class ThreadOfRun(RunId):
    evaluation_id: Offset


class LogOfRun(RunId):
    log_id: Offset


# What is told


class OutcomeJson(Model):
    """What a conversation came to, without its result."""

    id: int
    thread_id: str
    intent_accuracy: float | None
    worst_correctness: Correctness | None
    efficiency_verdict: Efficiency | None
    success_status: bool | None
    failed: bool
    """Nothing could be measured; `error` says why."""
    error: str | None
    missing_verdicts: int
    messages: int | None
    duration_ms: float
    """That it took to evaluate it."""
    created_at: Moment


class Outcomes(Model):
    """A page of a run's conversations, in the order they were begun to be kept."""

    run_id: UUID
    outcomes: list[OutcomeJson]
    total: int
    """Of the run, not of the page."""


class Trial(Model):
    """What a trial of a case came to, without its transcript."""

    id: int
    case_id: str
    trial: int
    label: str
    category: str
    difficulty: Difficulty
    persona: str
    tactic: str | None
    verdict: StressVerdict | None
    goal_achieved: bool | None
    """Of an attack, that is the bot's failure."""
    total_turns: int
    stop_reason: StopReason
    error: str | None
    """Why there is no verdict."""
    credential: str | None
    first_failing_turn: int | None
    created_at: Moment


class Trials(Model):
    """A page of a run's trials, likewise."""

    run_id: UUID
    trials: list[Trial]
    total: int
    """Of the run, not of the page."""


class ShareJson(Model):
    """How many of the conversations measured have a verdict, with the 95 % interval of the share.

    Null: none was measured.
    """

    verdict: str
    count: int
    share: float | None
    low: float | None
    high: float | None


class IntentFigures(Model):
    """How often the router's label is the judge's, and which were taken for which."""

    accuracy: float
    low: float
    high: float
    """The interval knows that messages of one conversation are alike."""
    correct: int
    compared: int
    """Messages."""
    threads: int
    """Those with a message that could be compared."""
    labels: list[str]
    """The most frequent first, at most 30; the rest of more is the last, `other`."""
    matrix: list[list[int]]
    """A row for each label expected, a column for each predicted."""


class Covered(Model):
    """How many answers were asked of a judge, and how many came."""

    judged: int
    attempted: int
    rate: float | None


class MissingVerdictsJson(Model):
    """How many verdicts are missing for a reason."""

    evaluator: str
    reason: str
    count: int
    example: str | None
    """One of the messages."""


class BatchStatisticsJson(Model):
    """What was found in the conversations of a run so far."""

    threads: int
    """How many of them a verdict is not measured in: this, less the sum of its counts."""
    failed: int
    """Nothing at all could be measured in them."""
    correctness: list[ShareJson]
    efficiency: list[ShareJson]
    intent: IntentFigures | None
    """Null: no message could be compared."""
    coverage: dict[str, Covered]
    failures: list[MissingVerdictsJson]
    """The most frequent first."""


class EvaluatorCalls(Model):
    """The LLM calls of one evaluator, every attempt one."""

    evaluator: str
    calls: int
    failed_calls: int
    p50_ms: float | None
    """Of the calls that got an answer; null: there is none."""
    p95_ms: float | None
    max_ms: float | None
    tokens_in: int | None
    """Null: no call said."""
    tokens_out: int | None


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
    tokens_in: int | None
    """Null: no call said."""
    tokens_out: int | None
    evaluators: list[EvaluatorCalls]
    latency: LatenciesJson
    timeline: list[StretchJson]
    """Equal stretches from the first call to the last, at most 120."""


class RunStatistics(Model):
    """The figures of a run so far, all of the same moment."""

    run_id: UUID
    command: str
    status: RunStatus
    total_items: int | None
    batch: BatchStatisticsJson | None
    """Null: the run is of another kind."""
    adversarial: dict[str, Any] | None
    """As the summary of a stress test; null: the run is of another kind."""
    llm: LlmStatisticsJson


class TurnJson(Model):
    """A user message and the bot's answer."""

    number: int
    timestamp: Moment | None
    user_text: str
    bot_text: str
    routed_intent: str | None
    """What the bot's router made of the message."""
    routed_query_type: str | None
    has_image: bool
    error: str | None
    """What went wrong in production."""
    session_id: str | None
    response_id: str | None


class ThreadDetail(Model):
    """One conversation of a run: what was found in it, what was said, and where it stands."""

    evaluation: ThreadEvaluation
    turns: list[TurnJson] | None
    """Null: what was said isn't kept, or is kept no longer."""
    dataset_id: str | None
    previous_id: int | None
    """Of the evaluation before this one in the run; null: it is the first."""
    next_id: int | None


class ApiLogTexts(ApiLog):
    """One attempt at one LLM call, with its texts, as they were cleaned and cut to be kept."""

    prompt: str
    system_prompt: str | None
    response: str | None
    request_id: str | None
    """The vendor's name for it."""


class KnownApp(Model):
    """An app that can be evaluated."""

    app_id: str
    name: str
    about: str
    evaluators: list[str]
    """Those that have something to say about it."""
    has_adversarial: bool
    """Whether it can be stress-tested."""


class KnownProvider(Model):
    """An LLM provider, as far as this process can use it."""

    name: str
    ready: bool
    model: str | None
    """The one that is used where a job names none; null: a job has to name one."""
    reason: str | None
    """Why it is not ready: what to set."""
