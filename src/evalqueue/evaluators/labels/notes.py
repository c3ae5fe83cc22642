"""Notes: what people write about conversations. They are never changed."""

from dataclasses import dataclass
from datetime import datetime

from evalqueue.errors import Refused
from evalqueue.evaluators.labels.store import LabelledRun
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load
from evalqueue.telemetry import actors

QUERIES = load("evaluation/notes")
NOTES_MAX = 100
"""Of a conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadNote:
    """What one person wrote about one conversation."""

    id: int
    thread_id: str
    note: str
    written_by: str
    created_at: datetime


class NoteRefused(Refused):
    """No note can be added, with the reason."""


async def add(
    connection: Connection, run: LabelledRun, thread_id: str, note: str, *, written_by: str
) -> ThreadNote | None:
    """Add a note to a conversation of a run. It stays for every run over the dataset.

    Returns:
        None: the run has no such conversation.

    Raises:
        NoteRefused: the run's conversations are not stored any more, or there are enough notes.
    """
    if run.dataset_id is None:
        raise NoteRefused("The conversations of this run are not stored any more")
    added = await QUERIES.row(
        connection, ThreadNote, "add",
        run_id=run.run_id, owner=run.owner, dataset_id=run.dataset_id, thread_id=thread_id,
        note=note, written_by=written_by, most=NOTES_MAX, actor=actors.setting(),
    )  # fmt: skip
    if added is None and await QUERIES.value(
        connection, "is_there", run_id=run.run_id, thread_id=thread_id
    ):
        raise NoteRefused(f"A conversation has at most {NOTES_MAX} notes")
    return added


async def of_run(
    connection: Connection, run: LabelledRun, *, thread_id: str | None, after: int, limit: int
) -> list[ThreadNote]:
    """The notes of a run's conversations (None: of all), in the order of writing.

    Args:
        after: only those with a higher id.
    """
    return await QUERIES.rows(
        connection, ThreadNote, "of_run",
        run_id=run.run_id, owner=run.owner, dataset_id=run.dataset_id, thread_id=thread_id,
        after=after, limit=limit,
    )  # fmt: skip
