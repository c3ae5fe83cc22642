"""The JSON of evaluators: what they declare, and which there are; and of LLM providers."""

from typing import Annotated

from pydantic import AfterValidator, Field

from evalqueue import codec
from evalqueue.evaluators.judging.registry import Origin
from evalqueue.evaluators.judging.scores import ScoreKind
from evalqueue.http.models.fields import Model


class EvaluatorsQuery(Model):
    app_id: Annotated[str, Field(max_length=100), AfterValidator(codec.clean_text)] = ""
    """An app, whose evaluators are listed, too, and those of the catalogue. Empty: none."""


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
    calls_llm: bool
    """Whether it may ask a judge."""
    scores: list[ScoreDeclarationJson]
    headline: str
    """The score of the whole conversation that stands for the evaluator."""
    details_key: str
    """The key of its details in a conversation's result."""


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
