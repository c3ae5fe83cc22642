"""The JSON about datasets, and about what a batch would do with one."""

from typing import Any

from pydantic import Field, Json

from evalqueue.evaluators.batch.job_type import DatasetId
from evalqueue.http.models.jobs import Model, Moment, Offset
from evalqueue.http.uploads import File

# What is asked


class AddDataset(Model):
    """A file of conversations."""

    file: File
    name: str | None = Field(None, max_length=500)
    """Without it, the file's."""
    mapping: Json[dict[str, str]] | None = None
    """Our column: the file's header, where it has another name."""
    format: str | None = Field(None, max_length=50)
    """`csv` or `jsonl`; without it, the one that the name or the content says."""


class DatasetsQuery(Model):
    limit: int = Field(50, ge=1, le=200)
    offset: Offset = 0


class OneDataset(Model):
    dataset_id: DatasetId


class DatasetThreadsQuery(OneDataset):
    after: int = Field(0, ge=0, le=2**31 - 1)
    """The last `position` of the page before."""
    limit: int = Field(200, ge=1, le=1000)


class PreviewForm(Model):
    """A file that is not stored, and what would be asked of it."""

    file: File
    mapping: Json[dict[str, str]] | None = None
    """Our column: the file's header. Without it, the best guess."""
    params: Json[dict[str, Any]] | None = None
    """Of `evaluate-batch`; the file stands for what is evaluated."""
    head: bool = False
    """The file is cut off somewhere: only its columns and the faults of whole rows are meant."""
    format: str | None = Field(None, max_length=50)


# What is told


class Statistics(Model):
    """What conversations hold."""

    messages: int
    threads: int
    users: int
    first_at: Moment | None
    """Null where the file has no times."""
    last_at: Moment | None
    intents: dict[str, int]
    """Messages per routed intent, most frequent first."""
    messages_with_images: int
    messages_with_errors: int


class Dataset(Model):
    """Conversations that are stored."""

    id: str
    """`sha256:` and the hash of the content: the same file is the same dataset."""
    name: str
    format: str
    size_bytes: int
    mapping: dict[str, str] | None
    """Our column: the file's header; null where they are the same."""
    owner: str
    created_at: Moment
    """When the owner got it."""
    messages: int
    threads: int
    users: int
    first_at: Moment | None
    """Null where the file has no times."""
    last_at: Moment | None
    intents: dict[str, int]
    """Messages per routed intent, most frequent first."""
    messages_with_images: int
    messages_with_errors: int


class DatasetThread(Model):
    """A conversation of a dataset, without what was said."""

    position: int
    """In order of first appearance, from 1."""
    thread_id: str
    user_id: str
    messages: int
    first_at: Moment | None
    last_at: Moment | None
    has_images: bool
    has_errors: bool
    opening: str
    """What the user said first, 200 characters at most."""


class DatasetThreads(Model):
    """A page of a dataset's conversations."""

    dataset_id: str
    threads: list[DatasetThread]
    total: int
    """Of the dataset, not of the page."""


class DeletedDataset(Model):
    """A dataset that the caller has no longer."""

    id: str
    deleted: bool = True


class Column(Model):
    name: str
    samples: list[str]
    """Some of its first values, cut short; three at most."""


class Counts(Model):
    threads: int
    messages: int


class Calls(Model):
    """LLM calls, exactly, if none has to be repeated."""

    intent: int
    """One per message."""
    correctness: int
    """One per answer with figures."""
    efficiency: int
    """One per conversation."""
    total: int


class BadRow(Model):
    row: int | None
    """The header is row 1; null: the fault is the file's."""
    column: str | None
    reason: str


class Preview(Model):
    """What a batch would do."""

    format: str
    columns: list[Column]
    """Of the uploaded file."""
    mapping: dict[str, str]
    """Our column: the file's header; as given, or the best guess."""
    missing_columns: list[str]
    """Of ours that are needed and that no header stands for."""
    statistics: Statistics | None
    """Null where the file has faults or is cut off; so are the next and `llm_calls`."""
    chosen: Counts | None
    """What would be evaluated of it."""
    unknown_thread_ids: list[str]
    """Asked for by name, and not there."""
    llm_calls: Calls | None
    bad_rows: list[BadRow]
    more_bad_rows: int
    """How many there are besides the first thousand."""
