"""Annotation queues: conversations of a run that people are asked to label, one after the other.

An item is leased to a person, so that no more people label it than its queue asks for. What they
say is a label as any other: items are counted by the labels that there are, wherever they come
from.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from evalqueue.errors import Refused
from evalqueue.evaluators.conversation import Turn
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.judging.voting.evaluator import FLIP_RATE
from evalqueue.evaluators.labels import store
from evalqueue.evaluators.labels.store import LabelledRun, NewLabel
from evalqueue.evaluators.statistics.agreement import Ratings, krippendorffs_alpha, majority
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load
from evalqueue.telemetry import actors

QUERIES = load("evaluation/annotation")
LEASE = timedelta(minutes=10)
"""How long an item stays with a person who does nothing."""
MAX_ITEMS = 2_000
MAX_ANNOTATORS = 5
_NO_PLACE = "Others have labelled this conversation meanwhile"
_NO_DISPUTE = "There is nothing to decide about this conversation, or somebody else does just now"


class Selection(StrEnum):
    """How the items of a queue are chosen."""

    RANDOM = "random"
    """Their labels correct rates."""
    DISAGREEMENTS = "disagreements"
    """Where the judge's votes differ, then the rarest verdicts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationQueue:
    """Conversations of a run that people are asked to label: one evaluator's question."""

    id: UUID
    run_id: UUID
    owner: str
    evaluator: str
    name: str
    """Of the score."""
    selection: Selection
    annotators: int
    """People who label each item."""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuEntry:
    """A value that a label can have."""

    value: str
    description: str
    """Empty: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationQuestion:
    """What people are asked."""

    title: str
    question: str
    """In a sentence; empty: there is none."""
    menu: Sequence[MenuEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationProgress:
    """How far a queue is, by the labels that there are."""

    items: int
    complete: int
    """Items with a label of as many people as the queue asks for."""
    labels: int
    disputed: int
    """Complete items without a majority that are not decided yet."""
    agreement: float | None
    """Krippendorff's α of people so far. None: no item has two labels, or all are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenLabel:
    """What one person says about an item."""

    labelled_by: str
    value: str
    note: str | None
    adjudicates: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedItem:
    """A conversation for one person to label. It does not say what the judge has said."""

    position: int
    """In the queue, from 1."""
    thread_id: str
    expires_at: datetime
    """Others may get the item from then on."""
    turns: Sequence[Turn]
    labels: Sequence[GivenLabel]
    """What people say who disagree, for someone who decides; none for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedVerdict:
    """What the judge said of an item."""

    value: str | None
    """None: it has no verdict."""
    reasoning: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledItem:
    """What judge and people say about an item, for a person who has labelled it."""

    judged: JudgedVerdict
    labels: Sequence[GivenLabel]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    position: int
    thread_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    thread_id: str
    is_random: bool | None
    """Of this person's label; None: they have none."""
    adjudicates: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alike:
    """Items that have the same labels."""

    labels: Sequence[str]
    is_decided: bool
    items: int


class NotLabellable(Refused):
    """The conversations of a run can't be labelled, with the reason."""


class ItemTaken(Refused):
    """An item is not this person's to label or to decide, with the reason."""


async def create(
    connection: Connection,
    run: LabelledRun,
    *,
    evaluator: str,
    name: str | None,
    selection: Selection,
    size: int,
    annotators: int,
) -> AnnotationQueue:
    """Ask people to label conversations of a run. The same ones are drawn each time.

    Args:
        name: of the score; None: the evaluator's headline.
        size: how many conversations; all, if the run has fewer.
        annotators: how many people label each.

    Raises:
        LookupError: the run has no such score, or it can't be labelled; with the reason.
        NotLabellable: the run goes on, has no conversations, or they are not stored any more.
    """
    found, score = store.find_score(run, evaluator, name)
    if not store.menu(score):
        raise LookupError(f"{found.name}.{score.name} has no menu: any text is a label of it")
    if not run.is_over:
        raise NotLabellable("The run goes on: its conversations can be drawn when it is over")
    _check_stored(run)
    queue = await QUERIES.row(
        connection, AnnotationQueue, "create",
        run_id=run.run_id, owner=run.owner, dataset_id=run.dataset_id, evaluator=found.name,
        name=score.name, selection=selection, size=size, annotators=annotators,
        flip_rate=FLIP_RATE, actor=actors.setting(),
    )  # fmt: skip
    if queue is None:
        raise NotLabellable("The run has no conversation to choose")
    return queue


async def find(
    connection: Connection, queue_id: UUID, *, owner: str | None
) -> AnnotationQueue | None:
    """A queue; None: it does not exist for this owner (None: any)."""
    return await QUERIES.row(connection, AnnotationQueue, "queue", queue_id=queue_id, owner=owner)


async def queues_of(
    connection: Connection, run_id: UUID, *, owner: str | None
) -> list[AnnotationQueue]:
    """The queues of a run, the first one first."""
    return await QUERIES.rows(connection, AnnotationQueue, "queues", run_id=run_id, owner=owner)


def question(queue: AnnotationQueue, run: LabelledRun) -> AnnotationQuestion:
    """What a queue of this run asks people."""
    evaluator, score = store.find_score(run, queue.evaluator, queue.name)
    values = store.menu(score)
    descriptions = score.descriptions or ("",) * len(values)
    return AnnotationQuestion(
        title=score.title,
        question=evaluator.question,
        menu=[
            MenuEntry(value=value, description=description)
            for value, description in zip(values, descriptions, strict=True)
        ],
    )


async def progress(connection: Connection, queue: AnnotationQueue) -> AnnotationProgress:
    """How far a queue is."""
    alike = await QUERIES.rows(connection, _Alike, "progress", queue_id=queue.id)
    complete = [each for each in alike if len(each.labels) >= queue.annotators]
    rated: Counter[Ratings] = Counter()
    for each in alike:
        rated[tuple(each.labels)] += each.items
    return AnnotationProgress(
        items=sum(each.items for each in alike),
        complete=sum(each.items for each in complete),
        labels=sum(each.items * len(each.labels) for each in alike),
        disputed=sum(
            each.items for each in complete if majority(each.labels) is None and not each.is_decided
        ),
        agreement=krippendorffs_alpha(rated),
    )


async def next_item(
    connection: Connection,
    queue: AnnotationQueue,
    run: LabelledRun,
    *,
    annotator: str,
    adjudicates: bool,
) -> OfferedItem | None:
    """Lease an item to a person: the one that they have already, or the next one.

    Args:
        adjudicates: whether it is one about which others disagree, for this person to decide.

    Returns:
        None: there is none for this person now.

    Raises:
        NotLabellable: the conversations are not stored any more.
    """
    dataset_id = _check_stored(run)
    async with connection.transaction():
        claim = await _claim(connection, queue, annotator, adjudicates)
    if claim is None:
        return None
    thread = await datasets.thread(connection, dataset_id, claim.thread_id)
    return OfferedItem(
        position=claim.position,
        thread_id=claim.thread_id,
        expires_at=claim.expires_at,
        turns=() if thread is None else thread.turns,
        labels=await _labels(connection, queue, claim.position) if adjudicates else (),
    )


async def release(
    connection: Connection,
    queue: AnnotationQueue,
    *,
    position: int,
    annotator: str,
    expires_at: datetime | None,
) -> bool:
    """Give an item back.

    Args:
        expires_at: as it was offered; a lease that was extended since stays. None: whatever it is.

    Returns:
        Whether there was such a lease.
    """
    cursor = await connection.execute(
        QUERIES["release"],
        {
            "queue_id": queue.id,
            "position": position,
            "annotator": annotator,
            "expires_at": expires_at,
        },
    )
    return cursor.rowcount > 0


async def label(
    connection: Connection,
    queue: AnnotationQueue,
    run: LabelledRun,
    *,
    position: int,
    annotator: str,
    value: str,
    note: str | None,
    adjudicates: bool,
) -> LabelledItem | None:
    """Store what a person says about an item. Their next one about it takes its place.

    Returns:
        None: the queue has no such item.

    Raises:
        ItemTaken: the person has no lease, and others have all places; or wants to decide about
            an item that has no dispute, or that they have labelled. Nothing was stored.
        InvalidLabels: the value is not on the menu; nothing was stored.
    """
    _check_stored(run)
    async with connection.transaction():
        # Read under the lock: what the same person sends twice at once is one label.
        await connection.execute(QUERIES["lock"], {"queue_id": queue.id})
        item = await QUERIES.row(
            connection, _Item, "item", queue_id=queue.id, position=position, annotator=annotator
        )
        if item is None:
            return None
        label = NewLabel(
            thread_id=item.thread_id,
            evaluator=queue.evaluator,
            name=queue.name,
            value=value,
            labelled_by=annotator,
            is_random=_first_known(item.is_random, queue.selection == Selection.RANDOM),
            adjudicates=_first_known(item.adjudicates, adjudicates),
            note=note,
        )
        store.check_value(run, label)
        if adjudicates and not label.adjudicates:
            raise ItemTaken("You have labelled this conversation: somebody else has to decide")
        if item.is_random is None:
            claim = await _claim(connection, queue, annotator, adjudicates, position)
            if claim is None:
                raise ItemTaken(_NO_DISPUTE if adjudicates else _NO_PLACE)
        await store.add(connection, run, [label])
        await release(connection, queue, position=position, annotator=annotator, expires_at=None)
    verdict = await QUERIES.row(
        connection, JudgedVerdict, "verdict",
        run_id=queue.run_id, thread_id=item.thread_id, evaluator=queue.evaluator, name=queue.name,
    )  # fmt: skip
    return LabelledItem(
        judged=verdict or JudgedVerdict(value=None, reasoning=None),
        labels=await _labels(connection, queue, position),
    )


async def _claim(
    connection: Connection,
    queue: AnnotationQueue,
    annotator: str,
    adjudicates: bool,
    position: int | None = None,
) -> _Claim | None:
    """Lease an item, inside a transaction. Claims of a queue are made one after the other."""
    person = {"queue_id": queue.id, "annotator": annotator, "adjudicates": adjudicates}
    await connection.execute(QUERIES["lock"], person)
    await connection.execute(QUERIES["expire"], person)
    return await QUERIES.row(connection, _Claim, "claim", lease=LEASE, position=position, **person)


async def _labels(
    connection: Connection, queue: AnnotationQueue, position: int
) -> list[GivenLabel]:
    return await QUERIES.rows(connection, GivenLabel, "given", queue_id=queue.id, position=position)


def _first_known(first: bool | None, otherwise: bool) -> bool:
    return otherwise if first is None else first


def _check_stored(run: LabelledRun) -> str:
    """The dataset of a run."""
    if run.dataset_id is None:
        raise NotLabellable("The conversations of this run are not stored any more")
    return run.dataset_id
