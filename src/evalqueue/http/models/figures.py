"""The JSON of figures: what a run comes to, row by row and in sum. Null is "not measured"."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, field_validator

from evalqueue import codec
from evalqueue.evaluators.conversation import UNKNOWN_TIME
from evalqueue.evaluators.judging.registry import Origin
from evalqueue.evaluators.judging.scores import ScoreKind
from evalqueue.evaluators.verdicts import AdversarialVerdict, Difficulty, StopReason
from evalqueue.http.models.fields import Dollars, EstimateJson, Model, Moment, Offset, RunId
from evalqueue.http.models.jobs import ApiLog, RunStatus, ThreadEvaluation, ThreadQuery

ScoreValue = str | bool | float | None

# What is asked


class TrialsQuery(RunId):
    after: Offset = 0
    """The last `id` of the page before."""
    limit: int = Field(1000, ge=1, le=5000)


class OutcomesQuery(TrialsQuery, ThreadQuery):
    pass


class ThreadOfRun(RunId):
    evaluation_id: Offset


class LogOfRun(RunId):
    log_id: Offset


class EvaluatorsQuery(Model):
    app_id: Annotated[str, Field(max_length=100), AfterValidator(codec.clean_text)] = ""
    """An app, whose evaluators are listed, too, and those of the catalogue. Empty: none."""


# Responses


class OutcomeJson(Model):
    """What a conversation came to, without its result."""

    id: int
    thread_id: str
    success_status: bool | None
    failed: bool
    """Nothing could be measured; `error` says why."""
    error: str | None
    missing_verdicts: int
    messages: int | None
    duration_ms: float
    """That it took to evaluate it."""
    created_at: Moment
    scores: dict[str, ScoreValue]
    """Of the whole conversation: `evaluator.name` and value; null: not measured."""


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
    verdict: AdversarialVerdict | None
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


class Covered(Model):
    """How many answers were asked of a judge, and how many came."""

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


class ScoreDeclarationJson(Model):
    """One thing that an evaluator measures."""

    name: str
    title: str
    kind: ScoreKind
    per_turn: bool
    """Measured in single turns, not in the whole conversation."""
    labels: list[str]
    """Of a category, in order; none: any label may come."""
    good: list[str]
    bad: list[str]
    """Labels to look at, the worst first."""
    neutral: list[str]
    """Labels that are neither well nor badly done."""
    higher_is_better: bool | None
    """Of a number or a boolean."""
    minimum: float | None
    maximum: float | None
    has_expected: bool
    """Whether its labels are compared with labels on record."""


class EvaluatorDeclarationJson(Model):
    """What an evaluator of the run measures, as the run has frozen it."""

    name: str
    title: str
    question: str
    calls: str
    """How many LLM calls it makes, in words."""
    scores: list[ScoreDeclarationJson]
    headline: str
    """The score of the whole conversation that stands for the evaluator."""
    details_key: str
    """The key of its details in a conversation's result."""


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
    """Null: no call said."""
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
    """Null: no call said."""
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


class ToolCallJson(Model):
    """A tool that the bot called during a turn."""

    name: str
    arguments: str
    """As recorded; usually JSON."""
    result: str | None
    """What the tool returned. Null: not recorded."""


class ExpectedCallJson(Model):
    """A tool that people say the bot should have called."""

    name: str
    arguments: str | None
    """As JSON. Null: any."""
    arguments_schema: str | None
    """A JSON Schema that the arguments have to satisfy, as JSON."""


class TurnJson(Model):
    """A user message and the bot's answer."""

    number: int
    timestamp: Moment | None
    """Null: the file has no time for it."""
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
    system: str | None
    """The bot's instructions (system prompt), in the turn from which they apply."""
    context: str | None
    """What was given to the bot besides the user's message, e.g. retrieved documents."""
    tool_calls: list[ToolCallJson]
    """In the order of the calls."""
    expected: str | None
    """The reference answer: what the bot should have said."""
    tools: str | None
    """The definitions of the bot's tools, as JSON, in the turn from which they apply."""
    expected_tool_calls: list[ExpectedCallJson] | None
    """What the bot should have called, by people. Null: nobody has said."""

    @field_validator("timestamp")
    @classmethod
    def _is_known(cls, value: datetime | None) -> datetime | None:
        return None if value == UNKNOWN_TIME else value


class ScoreJson(Model):
    """One value that an evaluator found, or why there is none."""

    evaluator: str
    version: str
    name: str
    kind: ScoreKind
    turn: int | None
    """Null: it is about the whole conversation."""
    value: ScoreValue
    """Null with a failure: not measured; without one: there was nothing to measure."""
    expected: str | None
    """The label on record that it is compared with."""
    evidence: list[dict[str, Any]] | None
    reasoning: str | None
    failure: str | None


class ThreadDetail(Model):
    """One conversation of a run: what was found in it, what was said, and where it stands."""

    evaluation: ThreadEvaluation
    evaluators: list[EvaluatorDeclarationJson]
    scores: list[ScoreJson]
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
    parameters: dict[str, Any] | None
    """What was really sent besides the texts, in the vendor's spelling. Null: nothing was sent."""


class KnownEvaluator(EvaluatorDeclarationJson):
    """An evaluator that a job can name."""

    origin: Origin
    """`installed` and `app` are on in a job that names none; `catalogue` is on where it is
    named."""
    switch: str | None
    """The param of a job that turns it off; null: `evaluators` names those that are wanted."""


class KnownProvider(Model):
    """An LLM provider, as far as this process can use it."""

    name: str
    ready: bool
    model: str | None
    """The one that is used where a job names none; null: a job has to name one."""
    reason: str | None
    """Why it is not ready: what to set."""
    without_batches: str | None
    """Why economy mode is not possible with it; null: it is, or only a call will tell."""
