"""Annotation queues: what people are asked to label, and what they have said."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field

from evalqueue import codec
from evalqueue.evaluators.judging.scores import Name
from evalqueue.evaluators.labels.annotation import MAX_ANNOTATORS, MAX_ITEMS, Selection
from evalqueue.http.models.fields import LabelText, Model, Moment, Since, ThreadName
from evalqueue.http.models.figures.rows import TurnJson
from evalqueue.problems import OneLine

PersonName = Annotated[str, Field(min_length=1, max_length=200), OneLine, AfterValidator(str.strip)]
NoteText = Annotated[str, Field(max_length=4000), AfterValidator(codec.clean_text)]

# Requests


class CreateAnnotationQueue(Model):
    """Conversations of a run that people shall label."""

    model_config = ConfigDict(extra="forbid")

    run_id: UUID
    evaluator: Name
    name: Name | None = None
    """Of the score; null: the evaluator's headline."""
    selection: Selection = Selection.RANDOM
    """`random`, or `disagreements`: where the judge's votes differ, then the rarest verdicts. Only
    random labels correct rates."""
    size: int = Field(50, ge=1, le=MAX_ITEMS)
    """Conversations; all, if the run has fewer."""
    annotators: int = Field(1, ge=1, le=MAX_ANNOTATORS)
    """People who label each."""


class AnnotationQueueKey(Model):
    queue_id: UUID


class NextAnnotation(AnnotationQueueKey):
    """Who labels."""

    labelled_by: PersonName | None = None
    """Null: the caller's name."""
    adjudicates: bool = False
    """Whether to decide where others disagree."""


class AnnotationItemKey(AnnotationQueueKey):
    position: int = Field(ge=1, le=MAX_ITEMS)


class LabelAnnotation(AnnotationItemKey):
    """What a person says about an item."""

    labelled_by: PersonName | None = None
    adjudicates: bool = False
    value: Annotated[LabelText, Field(min_length=1)]
    note: NoteText | None = None


class ReleaseAnnotation(AnnotationItemKey):
    """An item that is given back."""

    labelled_by: PersonName | None = None
    expires_at: Since
    """As it was offered: a lease that was extended since stays."""


# Responses


class MenuEntryJson(Model):
    """A value that a label can have."""

    value: str
    description: str
    """Empty: there is none."""


class AnnotationQuestionJson(Model):
    """What people are asked."""

    title: str
    question: str
    """In a sentence; empty: there is none."""
    menu: list[MenuEntryJson]


class AnnotationProgressJson(Model):
    """How far a queue is, by the labels that there are."""

    items: int
    complete: int
    """Items with a label of as many people as the queue asks for."""
    labels: int
    disputed: int
    """Complete items without a majority that are not decided yet."""
    agreement: float | None
    """Krippendorff's α of people so far. Null: no item has two labels, or all are the same."""


class AnnotationQueueJson(Model):
    """Conversations of a run that people are asked to label."""

    id: UUID
    run_id: UUID
    owner: str
    evaluator: str
    name: str
    selection: Selection
    annotators: int
    """People who label each item."""
    created_at: Moment
    question: AnnotationQuestionJson
    progress: AnnotationProgressJson


class AnnotationQueues(Model):
    """The annotation queues of a run, the first one first."""

    run_id: UUID
    queues: list[AnnotationQueueJson]


class GivenLabelJson(Model):
    """What one person says about an item."""

    labelled_by: str
    value: str
    note: str | None
    adjudicates: bool


class OfferedItemJson(Model):
    """A conversation for one person to label, without what the judge has said."""

    position: int
    thread_id: ThreadName
    expires_at: Moment
    """Others may get it from then on. Asking for the next item again extends it."""
    turns: list[TurnJson]
    labels: list[GivenLabelJson]
    """What people say who disagree, for someone who decides."""


class OfferedAnnotation(Model):
    """The item that a person has now."""

    item: OfferedItemJson | None
    """Null: there is none for this person now."""
    progress: AnnotationProgressJson


class JudgedVerdictJson(Model):
    """What the judge said."""

    value: str | None
    """Null: it has no verdict."""
    reasoning: str | None


class LabelledAnnotation(Model):
    """What judge and people say about an item that was labelled."""

    judged: JudgedVerdictJson
    labels: list[GivenLabelJson]
    progress: AnnotationProgressJson


class ReleasedAnnotation(Model):
    """Whether the item was given back."""

    released: bool
