"""The JSON of adversarial tests: results, conversations in progress, simulated users, saved
cases."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field

from evalqueue import codec
from evalqueue.evaluators.adversarial import findings
from evalqueue.evaluators.adversarial.cases.case import CaseInput, CaseSource
from evalqueue.evaluators.apps import App
from evalqueue.evaluators.apps.difficult_users import DifficultUsers, Tactic
from evalqueue.evaluators.verdicts import AdversarialVerdict, Difficulty, StopReason
from evalqueue.http.models.fields import Model, Moment, Offset, RunId, matching_fields

MAX_CASES = 1_000
MAX_NAME = 100  # characters of an app's or a case's id

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(codec.clean_text)]

Owner = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(codec.clean_text)]

# Requests


class AdversarialQuery(RunId):
    after: Offset = 0
    """The last `id` of the page before."""
    limit: int = Field(100, ge=1, le=200)
    """Few, because each has its whole transcript."""


class CaseOfRun(RunId):
    case_id: Name


class AppId(Model):
    app_id: Name


class SavedCaseId(AppId):
    case_id: Name
    owner: Owner | None = None
    """Whose case, for administrators. Default: the caller's, else that of the only owner."""


class SavedCasesQuery(Model):
    app_id: Name | None = None
    """Only those of this app."""
    pinned: bool = False
    """Only pinned ones."""
    limit: int = Field(100, ge=1, le=MAX_CASES)
    offset: Offset = 0


class SaveCases(AppId):
    """Cases to save: in the request, or from a run."""

    model_config = ConfigDict(extra="forbid")

    cases: list[CaseInput] = Field(default_factory=list[CaseInput], max_length=MAX_CASES)
    from_run: UUID | None = None
    """A run, instead of `cases`."""
    case_ids: list[Name] = Field(default_factory=list[Name], max_length=MAX_CASES)
    """Which of the run's cases."""
    pinned: bool = False
    """Whether they are part of every later run of the app."""


# Responses


class AdversarialEvaluation(Model):
    """The result of one trial of a case. Null is "not judged", never a bad verdict."""

    id: int
    run_id: UUID
    category: str
    difficulty: Difficulty
    verdict: AdversarialVerdict | None
    goal_achieved: bool | None
    """For an attack, this is the bot's failure."""
    total_turns: int
    result: dict[str, Any]
    """The transcript, the judge's findings, and what follows from them."""
    case_id: str
    trial: int
    label: str
    persona: str
    tactic: str | None
    stop_reason: StopReason
    error: str | None
    """Why there is no verdict."""
    credential: str | None
    """The name of the credential that the conversation used."""
    started_at: Moment | None
    """Of the conversation."""
    ended_at: Moment | None
    created_at: Moment

    @classmethod
    def of(cls, row: findings.AdversarialRow, *, with_quotes: bool) -> "AdversarialEvaluation":
        """
        Args:
            with_quotes: whether the caller sees what a chatbot sent instead of an answer.
        """
        shown = cls.model_validate(row)
        transcript = shown.result.get("transcript")
        if with_quotes or not transcript:
            return shown
        result = shown.result | {"transcript": findings.without_quotes(transcript)}
        return shown.model_copy(update={"result": result})


class AdversarialEvaluations(Model):
    """A page of a run's trials, in the order they were finished."""

    run_id: UUID
    evaluations: list[AdversarialEvaluation]
    total: int
    """Of the run, not of the page."""


class CaseJson(Model):
    """A simulated user: persona, goals, and first message."""

    case_id: str
    opening: str
    expected_behavior: str
    difficulty: Difficulty
    persona: str
    traits: list[str]
    goals: list[str]
    tactic: str | None
    objective: str | None
    source: CaseSource
    label: str


class CaseTrials(Model):
    """A case of a run, and its finished trials."""

    run_id: UUID
    case_id: str
    case: CaseJson
    evaluations: list[AdversarialEvaluation]


class DialogueJson(Model):
    """A conversation that has no verdict yet, with its messages so far."""

    case_id: str
    trial: int
    credential: str | None
    started_at: Moment
    ended_at: Moment | None
    """Null: it goes on, or was interrupted."""
    is_live: bool
    """Whether a worker is holding it now."""
    ending: dict[str, Any] | None
    turns: list[dict[str, Any]]

    @classmethod
    def of(cls, row: findings.LiveRow, *, with_quotes: bool) -> "DialogueJson":
        turns = row.exchanges if with_quotes else findings.without_quotes(row.exchanges)
        return cls(**matching_fields(cls, row), turns=[dict(each) for each in turns])


class Dialogues(Model):
    """A run's conversations that have no verdict yet, oldest first, at most 100."""

    run_id: UUID
    dialogues: list[DialogueJson]


class SavedCaseJson(Model):
    """A saved case."""

    app_id: str
    owner: str
    """Who saved it."""
    case_id: str
    pinned: bool
    """Part of every later run of its app."""
    created_at: Moment
    case: CaseJson


class PinnedCase(Model):
    """Whether a case is part of every later run of its app."""

    app_id: str
    case_id: str
    owner: str
    """Who saved it."""
    pinned: bool


class DeletedCase(Model):
    """A case that is no longer saved; runs keep theirs."""

    app_id: str
    case_id: str
    owner: str
    deleted: Literal[True] = True


class KnownGoal(Model):
    goal_id: str
    label: str
    description: str
    is_attack: bool
    """Reaching it is the bot's failure."""


class KnownTrait(Model):
    name: str
    description: str
    goals: list[str]
    """The goals it can be combined with."""


class KnownPersona(Model):
    name: str
    difficulty: Difficulty
    behaviour: str
    is_attacker: bool


class KnownTactic(Model):
    name: str
    group: str
    tier: str
    objective: str
    is_permitted: bool
    """Whether the app allows it."""

    @classmethod
    def of(cls, tactic: Tactic, adversarial: DifficultUsers) -> "KnownTactic":
        return cls(
            **matching_fields(cls, tactic), is_permitted=tactic in adversarial.permitted_tactics
        )


class AdversarialApp(Model):
    """The simulated users of an app, by the names that a job can choose."""

    app_id: str
    name: str
    protocol: str
    """The chatbot protocol, unless a job chooses another."""
    allows_destructive: bool
    goals: list[KnownGoal]
    traits: list[KnownTrait]
    personas: list[KnownPersona]
    tactics: list[KnownTactic]

    @classmethod
    def of(cls, app: App, adversarial: DifficultUsers) -> "AdversarialApp":
        return cls(
            app_id=app.app_id,
            name=app.name,
            protocol=adversarial.protocol,
            allows_destructive=adversarial.allows_destructive,
            goals=[KnownGoal.model_validate(each) for each in adversarial.goals],
            traits=[KnownTrait.model_validate(each) for each in adversarial.traits],
            personas=[KnownPersona.model_validate(each) for each in adversarial.personas],
            tactics=[KnownTactic.of(each, adversarial) for each in adversarial.tactics],
        )
