"""The JSON of datasets, and of previews of a batch."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, Json

from evalqueue.evaluators.formats import DateOrder
from evalqueue.evaluators.runs.params import DatasetId
from evalqueue.http.models.fields import EstimateJson, KeysOnce, Model, Moment, Offset
from evalqueue.http.uploads import File
from evalqueue.problems import OneLine

# Requests


class AddDataset(Model):
    """A file of conversations."""

    file: File
    name: Annotated[str, Field(max_length=500), OneLine] | None = None
    """Default: the file's name."""
    mapping: Annotated[Json[dict[str, str]], KeysOnce] | None = None
    """Our column → the file's header, where the guess is wrong; "" if the file has no such one."""
    format: str | None = Field(None, max_length=50)
    """`csv`, `jsonl`, `json_document`, `xlsx` or `parquet`. Default: detected from the file's
    content or name."""
    date_order: DateOrder | None = None
    """What 1/2/2025 means. Default: as the file decides."""
    mask: str | None = Field(None, max_length=100)
    """Personal data to replace before anything is stored: `emails`, `phones`, `cards`, separated by
    commas."""
    mask_names: str | None = None
    """Names to replace, too: one on each line."""


class DatasetsQuery(Model):
    limit: int = Field(50, ge=1, le=200)
    offset: Offset = 0


class DatasetKey(Model):
    dataset_id: DatasetId


class DatasetThreadsQuery(DatasetKey):
    after: int = Field(0, ge=0, le=2**31 - 1)
    """The last `position` of the page before."""
    limit: int = Field(200, ge=1, le=1000)


class PreviewForm(Model):
    """A file that is not stored, and the params of a batch."""

    file: File
    mapping: Annotated[Json[dict[str, str]], KeysOnce] | None = None
    """Our column → the file's header. Default: the best guess."""
    params: Annotated[Json[dict[str, Any]], KeysOnce] | None = None
    """Of `evaluate-batch`, without a data source: the file is evaluated."""
    date_order: DateOrder | None = None
    head: bool = False
    """Whether this is only the beginning of a file: then its columns are read, and bad rows
    reported, but nothing is counted."""
    format: str | None = Field(None, max_length=50)


PostedName = Annotated[str, Field(min_length=1, max_length=500), OneLine]


class PostedMessage(Model):
    """A message, with an `id`, a `timestamp`, or both. More keys are those of imported messages:
    `name`, `tool_call_id`, `error`, `intent`, …"""

    model_config = ConfigDict(extra="allow")

    role: Literal["user", "assistant", "system", "developer", "tool", "function"]
    content: str | list[Any] | None = None
    """A text, or a list of parts. It may be missing beside tool calls."""
    id: str | None = Field(None, min_length=1, max_length=255)
    """The same id in the same thread is the same message, however often it is posted."""
    timestamp: str | None = None
    """ISO 8601. Default: when it comes. Messages are read in the order of their times."""
    tool_calls: list[Any] | None = None


class PostedThread(Model):
    """Messages of one conversation, in any order, and as many at a time as there are."""

    model_config = ConfigDict(extra="forbid")

    thread_id: PostedName
    app_id: Annotated[str, Field(min_length=1, max_length=100), OneLine] | None = None
    user_id: PostedName | None = None
    """Who has sent them, where a message has no `user_id` of its own; `evalqueue forget` finds them
    by it."""
    messages: list[PostedMessage] = Field(min_length=1, max_length=1_000)


class PostThreads(Model):
    """Messages as they happen."""

    threads: list[PostedThread] = Field(min_length=1, max_length=100)


class Traces(Model):
    """An export of OpenTelemetry, as OTLP/HTTP writes it in JSON."""

    resourceSpans: list[dict[str, Any]] = Field(max_length=10_000)  # noqa: N815  OTLP's name


# Responses


class PartialSuccess(Model):
    """What was not stored."""

    rejectedSpans: int  # noqa: N815  OTLP's name
    """0: all was stored."""
    errorMessage: str  # noqa: N815  OTLP's name


class ExportedTraces(Model):
    """The answer of OTLP."""

    partialSuccess: PartialSuccess  # noqa: N815  OTLP's name


class PostedThreads(Model):
    """How many messages were stored."""

    added: int
    known: int
    """Those that were posted before."""


class SourceRuleJson(Model):
    """A position of a source, and what became of the conversations that were read.

    matched = sampled + not_in_sample + over_per_intent + over_per_user + unreadable, and sampled =
    judged + failed + not_judged + waiting. What was pruned is in none of them.
    """

    owner: str
    source: str
    name: str
    last_at: Moment
    """When the last conversation that was read ended; of posted ones: its last message came."""
    updated_at: Moment
    job_id: UUID | None
    """Which has moved it."""
    matched: int
    sampled: int
    """Conversations whose evaluation was submitted."""
    not_in_sample: int
    over_per_intent: int
    over_per_user: int
    unreadable: int
    judged: int
    failed: int
    """Conversations with a verdict that could not be reached."""
    not_judged: int
    """Their run is over."""
    waiting: int
    """Their run goes on."""
    skipped_rows: dict[str, int]
    """Of `posted`: rows of watched tables that are no messages, by their problem."""


class NoticeJson(Model):
    """What a person should check in a file that was read."""

    kind: str
    count: int
    """How many rows or conversations it concerns."""
    row: int | None
    """The first of them; null: the whole file."""
    message: str


class StatisticsJson(Model):
    """Statistics of conversations."""

    messages: int
    threads: int
    users: int
    first_at: Moment | None
    """Null if the file has no times."""
    last_at: Moment | None
    intents: dict[str, int]
    """Messages per routed intent, most frequent first."""
    messages_with_images: int
    messages_with_errors: int


class DatasetJson(Model):
    """Stored conversations."""

    id: str
    """`sha256:` and the hash of the content: the same file is the same dataset."""
    name: str
    format: str
    size_bytes: int
    mapping: dict[str, str] | None
    """Our column → the file's header, as given or guessed; null if they are the same."""
    owner: str
    created_at: Moment
    """When the owner stored it."""
    messages: int
    threads: int
    users: int
    first_at: Moment | None
    """Null if the file has no times."""
    last_at: Moment | None
    intents: dict[str, int]
    """Messages per routed intent, most frequent first."""
    messages_with_images: int
    messages_with_errors: int
    notices: list[NoticeJson]


class DatasetThreadJson(Model):
    """A conversation of a dataset, without its messages."""

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
    """The user's first message, at most 200 characters."""


class DatasetThreads(Model):
    """A page of a dataset's conversations."""

    dataset_id: str
    threads: list[DatasetThreadJson]
    total: int
    """Of the dataset, not of the page."""


class DeletedDataset(Model):
    """A dataset that was removed from the caller's datasets."""

    id: str
    deleted: bool = True


class ColumnJson(Model):
    name: str
    samples: list[str]
    """At most three of its first values, truncated."""


class CountsJson(Model):
    threads: int
    messages: int


class PlannedCallsJson(Model):
    """The exact number of LLM calls if none has to be repeated."""

    evaluators: dict[str, int]
    """By evaluator."""
    total: int


class BadRowJson(Model):
    row: int | None
    """The header is row 1; null: the problem is the whole file's."""
    column: str | None
    reason: str


class MisfitJson(Model):
    """What does not fit between the app, the evaluators and the data."""

    kind: str
    field: str
    """The param that it is about."""
    message: str
    refused: bool
    """Whether such a job is refused."""


class PreviewJson(Model):
    """What a batch would evaluate, and how many LLM calls it would make."""

    format: str
    columns: list[ColumnJson]
    """Of the uploaded file."""
    mapping: dict[str, str]
    """Our column → the file's header: the one in the request, or the best guess."""
    missing_columns: list[str]
    """Required columns of ours that no header is mapped to."""
    statistics: StatisticsJson | None
    """Null if the file has bad rows or is only a beginning; then `chosen` and `llm_calls` are null,
    too."""
    chosen: CountsJson | None
    """The part of it that would be evaluated."""
    unknown_thread_ids: list[str]
    """Requested threads that do not exist."""
    skipped: int
    """How many conversations `skip_evaluated` leaves out. Of an upload: 0, as it is not stored."""
    llm_calls: PlannedCallsJson | None
    estimate: EstimateJson | None
    """Null as `llm_calls` is, and where a run is replayed: no LLM is called."""
    bad_rows: list[BadRowJson]
    more_bad_rows: int
    """How many bad rows there are besides the first thousand."""
    is_date_order_needed: bool
    """Whether the file has dates like 1/2/2025, and does not decide their order."""
    notices: list[NoticeJson]
    app_id: str | None
    """The app that would be used; null: only the beginning of a file was looked at."""
    misfits: list[MisfitJson]
