"""The job type `evaluate-source`: evaluate the new conversations of a source."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import (
    AwareDatetime,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from evalqueue.errors import InvalidParams
from evalqueue.evaluators.batch.job_type import SOURCES, EvaluateBatch
from evalqueue.evaluators.sources import posted
from evalqueue.evaluators.sources.candidates import Range
from evalqueue.evaluators.sources.sampling import Sampling
from evalqueue.evaluators.sources.settings import Source, SourceSettings
from evalqueue.jobtypes import AdmissionContext, JobParams, decoded
from evalqueue.problems import OneLine

FIRST_READING = timedelta(hours=24)
_SOME_DATASET = f"sha256:{'0' * 64}"
_CHOSEN_HERE = frozenset({*SOURCES, "thread_ids", "sample_size"})

SourceName = Annotated[str, StringConstraints(min_length=1, max_length=100), OneLine]


class EvaluateSource(JobParams, job_type="evaluate-source"):
    """Submit an `evaluate-batch` job for the conversations that ended since the last time."""

    source: SourceName
    """`posted`: what applications have posted. Else a name in EVALQUEUE_SOURCES, in the worker and
    where the job is submitted."""
    position: SourceName = "default"
    """Under which name it is recorded how far the source was read: other names read it anew."""
    since: AwareDatetime | None = None
    """Where the first reading starts. Default: 24 hours before the job was submitted."""
    until: AwareDatetime | None = None
    """Read only conversations that ended before this, under a position of its own."""
    app_id: SourceName | None = None
    """Only conversations that were posted for this app."""
    settle_minutes: float | None = Field(default=None, ge=0, le=60 * 24 * 30)
    """So long without a message ends a conversation. Default: as the source has it, or 30."""
    evaluation: dict[str, Any] = Field(default_factory=dict[str, Any])
    """The params of the `evaluate-batch` jobs, without those that name conversations."""

    sample_rate: float = Field(default=1.0, gt=0, le=1)
    """The share of conversations that are evaluated, by their ids."""
    seed: int = 0
    """Another seed takes other conversations."""
    per_intent: int | None = Field(default=None, ge=1)
    """So many of each recorded intent at most, each time."""
    per_user: int | None = Field(default=None, ge=1)
    """So many of each user at most, each time."""
    always_errors: bool = True
    """Evaluate every conversation that recorded an error, whatever the sample is."""
    batch_size: int = Field(default=2_000, ge=1, le=10_000)
    """Conversations that are read for one `evaluate-batch` job."""

    @field_validator("evaluation")
    @classmethod
    def _names_no_conversations(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in sorted(_CHOSEN_HERE & value.keys()):
            raise ValueError(f"{name}: the source says which conversations are evaluated")
        return value

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.until is not None and self.position == "default":
            raise ValueError("until: name a position of its own: no other reading is to end there")
        if self.until is not None and self.since is not None and self.since >= self.until:
            raise ValueError("until: it is not after since")
        return self

    async def admit(self, admission: AdmissionContext) -> Self:
        """Refuse an unknown source, and params that no evaluation accepts."""
        source = self.configured(admission.owner)
        if source is not None and self.app_id is not None:
            raise InvalidParams.of("app_id", "Only posted conversations have an app")
        batch = self.batch(_SOME_DATASET, name=self.source)
        try:
            await batch.admit_without_data(admission)
        except InvalidParams as error:
            raise _in_evaluation(error) from error
        return self

    def configured(self, owner: str) -> Source | None:
        """The source as this process is configured. None: the posted conversations.

        Raises:
            InvalidParams: there is none of this name for this owner.
        """
        known = SourceSettings.read().of_owner(owner)
        if self.source not in known:
            if self.source == posted.NAME:
                return None
            names = ", ".join(sorted({*known, posted.NAME}))
            raise InvalidParams.of(
                "source",
                f"There is no source {self.source!r} for {owner!r}. Known: {names}. "
                "EVALQUEUE_SOURCES names sources and their owners",
            )
        return known[self.source]

    def batch(self, dataset_id: str, *, name: str) -> EvaluateBatch:
        """The job that evaluates what was read.

        Raises:
            InvalidParams: `evaluation` has params that are wrong.
        """
        params = {"name": name, **self.evaluation, "dataset_id": dataset_id}
        try:
            return decoded(EvaluateBatch, params)
        except InvalidParams as error:
            raise _in_evaluation(error) from error

    @property
    def sampling(self) -> Sampling:
        return Sampling(
            rate=self.sample_rate,
            seed=self.seed,
            per_intent=self.per_intent,
            per_user=self.per_user,
            errors=self.always_errors,
        )

    def range_of(self, source: Source | None) -> Range:
        """Which conversations are read."""
        usual = posted.SETTLE_MINUTES if source is None else source.settle_minutes
        return Range(
            settle_minutes=usual if self.settle_minutes is None else self.settle_minutes,
            since=self.since,
            until=self.until,
            app_id=self.app_id,
        )

    def start(self, created_at: datetime) -> datetime:
        """Where the first reading starts."""
        return self.since if self.since is not None else created_at - FIRST_READING


def _in_evaluation(error: InvalidParams) -> InvalidParams:
    """Problems of a batch, which are in `evaluation` here."""
    return InvalidParams(
        [replace(each, loc=("params", "evaluation", *each.loc[1:])) for each in error.problems]
    )
