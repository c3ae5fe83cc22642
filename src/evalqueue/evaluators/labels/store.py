"""Labels in the database: never changed, only superseded by the same person's next one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from evalqueue import codec
from evalqueue.errors import Problem, Refused
from evalqueue.evaluators.judging.scores import (
    MAX_LABEL,
    EvaluatorDeclaration,
    Name,
    ScoreDeclaration,
    ScoreKind,
    declared,
)
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load
from evalqueue.postgres.rows import jsonb
from evalqueue.problems import OneLine
from evalqueue.telemetry import actors

QUERIES = load("evaluation/labels")
MAX_LABELS = 10_000
"""In one call."""
_MAX_PROBLEMS = 100
BOOLEANS = ("true", "false")
_WORDS = {"yes": "true", "no": "false"}


_Clean = AfterValidator(codec.clean_text)


class NewLabel(BaseModel):
    """What one person says about one conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    thread_id: Annotated[str, Field(min_length=1, max_length=500), _Clean]
    evaluator: Name
    name: Name | None = None
    """Of the score; None: the evaluator's headline."""
    value: Annotated[str, Field(min_length=1, max_length=MAX_LABEL), _Clean]
    """One of the score's labels in any case; of a boolean, true, false, yes or no."""
    labelled_by: Annotated[str, Field(min_length=1, max_length=200), OneLine]
    is_random: bool
    """Whether the conversation was drawn at random from its dataset: only such ones correct a
    rate."""
    adjudicates: bool = False
    """Decides where people disagree."""
    note: Annotated[str, Field(max_length=4000), _Clean] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentLabel:
    """The newest label of one person about one question."""

    thread_id: str
    evaluator: str
    name: str
    value: str
    labelled_by: str
    is_random: bool
    adjudicates: bool
    note: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRun:
    """A run, as far as labels need it."""

    run_id: UUID
    owner: str
    app_id: str | None
    llm_provider: str | None
    llm_model: str | None
    dataset_id: str | None
    is_over: bool
    evaluators: Any
    """JSON, as the run has frozen it."""

    @property
    def declarations(self) -> list[EvaluatorDeclaration]:
        return declared(self.evaluators)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCount:
    """How many conversations of a run have a value."""

    evaluator: str
    version: str
    name: str
    value: str
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedValue:
    """What the judge said of a conversation."""

    thread_id: str
    evaluator: str
    version: str
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A conversation that was drawn at random."""

    thread_id: str
    turns: Sequence[Mapping[str, Any]]


class InvalidLabels(Refused):
    """Some labels can't be accepted; nothing was stored."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        lines = [f"{'.'.join(map(str, each.loc))}: {each.msg}" for each in problems]
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)


async def labelled_run(
    connection: Connection, run_id: UUID, *, owner: str | None
) -> LabelledRun | None:
    """The run; None: it does not exist for this owner (None: any)."""
    return await QUERIES.row(connection, LabelledRun, "run", run_id=run_id, owner=owner)


async def add(connection: Connection, run: LabelledRun, labels: Sequence[NewLabel]) -> int:
    """Store labels of a run's conversations; what says the same as before is not stored again.

    Returns:
        How many were stored.

    Raises:
        InvalidLabels: one or more of them; nothing was stored.
    """
    if run.dataset_id is None:
        raise _invalid("run_id", "The conversations of this run are not stored any more")
    if len(labels) > MAX_LABELS:
        raise _invalid("labels", f"At most {MAX_LABELS} at once")
    checked = [_checked(run, label, place) for place, label in enumerate(labels)]
    problems = [each for each in checked if isinstance(each, Problem)]
    accepted = [each for each in checked if isinstance(each, NewLabel)]
    problems += await _unknown_threads(connection, run, labels)
    problems += _twice(accepted)
    if problems:
        raise InvalidLabels(problems[:_MAX_PROBLEMS])
    rows = [each.model_dump() for each in accepted]
    cursor = await connection.execute(
        QUERIES["add"],
        {
            "owner": run.owner,
            "dataset_id": run.dataset_id,
            "labels": jsonb(rows),
            "actor": actors.setting(),
        },
    )
    return cursor.rowcount


def check_value(run: LabelledRun, label: NewLabel) -> None:
    """Refuse a label whose value is not on the menu.

    Raises:
        InvalidLabels: it is not.
    """
    checked = _checked(run, label, 0)
    if isinstance(checked, Problem):
        raise InvalidLabels([checked])


async def current(connection: Connection, run: LabelledRun) -> list[CurrentLabel]:
    """The labels of a run's conversations that are not superseded."""
    return await QUERIES.rows(
        connection, CurrentLabel, "current",
        run_id=run.run_id, owner=run.owner, dataset_id=run.dataset_id,
    )  # fmt: skip


async def judged_counts(connection: Connection, run: LabelledRun) -> list[JudgedCount]:
    return await QUERIES.rows(connection, JudgedCount, "judged", run_id=run.run_id)


async def judged_values(
    connection: Connection, run: LabelledRun, thread_ids: Sequence[str]
) -> list[JudgedValue]:
    return await QUERIES.rows(
        connection, JudgedValue, "values", run_id=run.run_id, thread_ids=list(thread_ids)
    )


async def sample(
    connection: Connection,
    run: LabelledRun,
    score: ScoreDeclaration,
    evaluator: EvaluatorDeclaration,
    *,
    size: int,
    labelled_by: str,
) -> list[Drawn]:
    """Conversations of a run, drawn at random, that this person has not labelled yet.

    The same are drawn each time. A sample of another size has the smaller one in it.
    """
    return await QUERIES.rows(
        connection, Drawn, "sample",
        run_id=run.run_id, owner=run.owner, dataset_id=run.dataset_id, evaluator=evaluator.name,
        name=score.name, size=size, labelled_by=labelled_by,
    )  # fmt: skip


def find_score(
    run: LabelledRun, evaluator: str, name: str | None
) -> tuple[EvaluatorDeclaration, ScoreDeclaration]:
    """The score that a label is about.

    Raises:
        LookupError: the run has none of this name, or it can't be labelled; with the reason.
    """
    declarations = run.declarations
    found = next((each for each in declarations if each.name == evaluator), None)
    if found is None:
        known = ", ".join(each.name for each in declarations) or "none"
        raise LookupError(f"The run has no evaluator {evaluator!r}. Its evaluators: {known}")
    score = found.score(name or found.headline)
    if score is None:
        known = ", ".join(each.name for each in found.scores)
        raise LookupError(f"{evaluator} has no score {name!r}. Its scores: {known}")
    if score.per_turn:
        raise LookupError(
            f"{evaluator}.{score.name} is about messages: only conversations are labelled"
        )
    if score.kind is ScoreKind.NUMBER:
        raise LookupError(f"{evaluator}.{score.name} is a number: only categories can be labelled")
    return found, score


def menu(score: ScoreDeclaration) -> Sequence[str]:
    """The values that a label of a score can have; none: any."""
    return BOOLEANS if score.kind is ScoreKind.BOOLEAN else score.labels


def _checked(run: LabelledRun, label: NewLabel, place: int) -> NewLabel | Problem:
    """The label as it is stored, or what is wrong with it."""
    try:
        _, score = find_score(run, label.evaluator, label.name)
    except LookupError as error:
        return _problem(place, "evaluator", str(error))
    values = menu(score)
    given = label.value.strip()
    spelled = {each.casefold(): each for each in values}
    if score.kind is ScoreKind.BOOLEAN:
        spelled |= _WORDS
    value = spelled.get(given.casefold()) if values else given
    if not value:
        return _problem(place, "value", f"{given!r} is not one of {', '.join(values)}")
    return label.model_copy(update={"name": score.name, "value": value})


async def _unknown_threads(
    connection: Connection, run: LabelledRun, labels: Sequence[NewLabel]
) -> list[Problem]:
    places = {label.thread_id: place for place, label in reversed(list(enumerate(labels)))}
    cursor = await connection.execute(
        QUERIES["unknown"], {"run_id": run.run_id, "thread_ids": list(places)}
    )
    return [
        _problem(places[thread_id], "thread_id", f"The run has no conversation {thread_id!r}")
        for (thread_id,) in await cursor.fetchall()
    ]


def _twice(labels: Sequence[NewLabel]) -> list[Problem]:
    """A person may label a conversation once in a statement: their order in it is not defined."""
    seen: set[tuple[str, str, str | None, str]] = set()
    problems: list[Problem] = []
    for label in labels:
        key = (label.thread_id, label.evaluator, label.name, label.labelled_by)
        if key in seen:
            message = f"{label.labelled_by} labels the conversation {label.thread_id!r} twice"
            problems.append(Problem(loc=("labels",), msg=message))
        seen.add(key)
    return problems


def _problem(place: int, field: str, message: str) -> Problem:
    return Problem(loc=("labels", place, field), msg=message)


def _invalid(field: str, message: str) -> InvalidLabels:
    return InvalidLabels([Problem(loc=(field,), msg=message)])
