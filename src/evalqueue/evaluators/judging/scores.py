"""Scores: what evaluators measure, and what they declare about it before anything is measured.

A run's config holds the declarations of its evaluators, so that its scores can be counted and shown
where the evaluators themselves are not installed.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from evalqueue.evaluators.judging.quotes import CheckedQuote
from evalqueue.problems import Written

ScoreValue = str | float | bool
"""A label, a number, or yes or no."""

MAX_LABEL = 200
"""Characters of a label that are stored; labels may come from the data."""

Name = Annotated[
    str,
    Written(r"^[a-z][a-z0-9_]{0,49}$", "small letters, digits and _, first a letter; 50 at most"),
]
Label = Annotated[str, StringConstraints(min_length=1, max_length=MAX_LABEL)]


class ScoreKind(StrEnum):
    """What kind of value a score has."""

    CATEGORY = "category"
    NUMBER = "number"
    BOOLEAN = "boolean"


class _Declaration(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ScoreDeclaration(_Declaration):
    """One thing that an evaluator measures."""

    name: Name
    title: str
    kind: ScoreKind
    per_turn: bool = False
    """Measured in single turns, not in the whole conversation."""
    labels: tuple[Label, ...] = ()
    """Of a category, in the order in which they are shown; none: any label may come."""
    descriptions: tuple[str, ...] = ()
    """What each of the labels means, in their order; none: that is not written down."""
    good: tuple[Label, ...] = ()
    bad: tuple[Label, ...] = ()
    """Labels that a person should look at, the worst first."""
    neutral: tuple[Label, ...] = ()
    """Labels that are neither well nor badly done."""
    higher_is_better: bool | None = None
    """Of a number or a boolean."""
    minimum: float | None = None
    maximum: float | None = None
    has_expected: bool = False
    """Whether its labels are compared with labels on record: a confusion matrix is made of them."""

    @model_validator(mode="after")
    def _describes_all(self) -> Self:
        if self.descriptions and len(self.descriptions) != len(self.labels):
            raise ValueError("A score has as many descriptions as labels, or none")
        return self


class EvaluatorDeclaration(_Declaration):
    """What an evaluator measures, and where that is shown."""

    name: Name
    title: str
    question: str = ""
    """What it asks, in a sentence."""
    calls: str = ""
    """How many LLM calls it makes, in words."""
    calls_llm: bool = True
    """Whether it may ask a judge. A job whose evaluators all ask none needs no model and no key."""
    scores: tuple[ScoreDeclaration, ...] = Field(min_length=1)
    headline: Name
    """The score of the whole conversation that stands for the evaluator."""
    details_key: Name
    """The key of its details in a conversation's result."""
    column: Name | None = None
    """The column of `thread_evaluations` that its headline fills, too."""
    summary_key: Name | None = None
    """The key of a run's summary that its headline's mean or counts fill, too."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        names = [each.name for each in self.scores]
        if len(set(names)) < len(names):
            raise ValueError("Two scores have the same name")
        headline = self.score(self.headline)
        if headline is None or headline.per_turn:
            raise ValueError("The headline is no score of the whole conversation")
        return self

    def score(self, name: str) -> ScoreDeclaration | None:
        return next((each for each in self.scores if each.name == name), None)

    @property
    def headline_score(self) -> ScoreDeclaration:
        return next(each for each in self.scores if each.name == self.headline)

    @property
    def turn_score(self) -> ScoreDeclaration | None:
        """The first score of single turns: a turn's failure is booked on it."""
        return next((each for each in self.scores if each.per_turn), None)


def declared(value: object) -> list[EvaluatorDeclaration]:
    """The declarations in a run's config. What is none, as in a run of an older program, is left
    out."""
    found: list[EvaluatorDeclaration] = []
    for each in cast("list[object]", value) if isinstance(value, list) else []:
        with suppress(ValidationError):
            found.append(EvaluatorDeclaration.model_validate(each))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One value that an evaluator found; None: there was nothing to measure, or no way to."""

    name: str
    value: ScoreValue | None
    turn: int | None = None
    """None: it is about the whole conversation."""
    expected: str | None = None
    """The label on record that the value is compared with."""
    evidence: Sequence[CheckedQuote] = ()
    """Quotes, as `transcript.checked` makes them."""
    reasoning: str | None = None
    is_unknown: bool = False
    """Whether there was something to measure, and the data do not say what it comes to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """A score as it is stored: a value, or why there is none, or neither if nothing was to be
    measured."""

    evaluator: str
    version: str
    name: str
    kind: ScoreKind
    turn: int | None = None
    value: ScoreValue | None = None
    expected: str | None = None
    evidence: Sequence[CheckedQuote] = ()
    reasoning: str | None = None
    failure: str | None = None
    """Why there is no value."""


def fits(value: ScoreValue | None, declared: ScoreDeclaration) -> bool:
    """Whether a value is of the declared kind, and of its menu."""
    if value is None:
        return True
    match declared.kind:
        case ScoreKind.BOOLEAN:
            return isinstance(value, bool)
        case ScoreKind.NUMBER:
            return (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and math.isfinite(value)
                and (declared.minimum is None or value >= declared.minimum)
                and (declared.maximum is None or value <= declared.maximum)
            )
        case ScoreKind.CATEGORY:
            return isinstance(value, str) and (not declared.labels or value in declared.labels)
