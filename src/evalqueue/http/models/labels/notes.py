"""What people write about conversations."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field

from evalqueue import codec
from evalqueue.http.models.fields import MAX_INTEGER, Model, Moment, ThreadName
from evalqueue.http.models.labels.annotation import PersonName


def _written(value: str) -> str:
    cleaned = codec.clean_text(value).strip()
    if not cleaned:
        raise ValueError("Write something")
    return cleaned


class AddNote(Model):
    """What a person writes about a conversation of a run."""

    model_config = ConfigDict(extra="forbid")

    run_id: UUID
    thread_id: ThreadName
    note: Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_written)]
    written_by: PersonName | None = None
    """Null: the caller's name."""


class ThreadNoteJson(Model):
    """What one person wrote about one conversation."""

    id: int
    thread_id: ThreadName
    note: str
    written_by: str
    created_at: Moment


class NotesQuery(Model):
    """Which notes of a run's conversations."""

    run_id: UUID
    thread_id: ThreadName | None = None
    """Only of this conversation."""
    after: int = Field(0, ge=0, le=MAX_INTEGER)
    """The last `id` of the previous page."""
    limit: int = Field(1000, ge=1, le=1000)


class RunNotes(Model):
    """The notes of a run's conversations, in the order of writing."""

    run_id: UUID
    notes: list[ThreadNoteJson]
