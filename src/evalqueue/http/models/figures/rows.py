"""The JSON of a run's rows: conversations, trials, LLM calls."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field, field_validator

from evalqueue.evaluators.conversation import UNKNOWN_TIME
from evalqueue.evaluators.judging.scores import ScoreKind
from evalqueue.evaluators.verdicts import AdversarialVerdict, Difficulty, StopReason
from evalqueue.http.models.fields import Model, Moment, Offset, RunId
from evalqueue.http.models.figures.evaluators import EvaluatorDeclarationJson
from evalqueue.http.models.jobs import ApiLog, ThreadEvaluation, ThreadQuery

ScoreValue = str | bool | float | None


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
    excerpt: str | None
    """The words around the first place of the text that is searched for."""


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
    alternative: str | None
    """Another answer to the same message."""
    tools: str | None
    """The definitions of the bot's tools, as JSON, in the turn from which they apply."""
    expected_tool_calls: list[ExpectedCallJson] | None
    """What the bot should have called, by people. Null: not given."""
    latency_seconds: float | None
    """How long the answer took, as recorded."""
    wait_seconds: float | None
    """Between the times of the user's message and of the answer."""

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
    """One conversation of a run: what was found in it, its messages, and where it stands."""

    evaluation: ThreadEvaluation
    evaluators: list[EvaluatorDeclarationJson]
    scores: list[ScoreJson]
    turns: list[TurnJson] | None
    """Null: its messages are not stored, or no longer."""
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
