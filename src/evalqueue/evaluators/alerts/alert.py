"""What an alert is, and what a new one may be."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from evalqueue.evaluators.alerts import webhook
from evalqueue.evaluators.chatbots.targets import TargetRefused
from evalqueue.evaluators.comparison.requirements import BadRequirement, NoWorse, parse
from evalqueue.evaluators.judging.scores import Name
from evalqueue.problems import OneLine, Written

ALERTS_MAX = 100
"""Of an owner."""


class Watched(StrEnum):
    """What an alert watches."""

    RATE = "rate"
    """A share or mean of the runs that complete leaves a band."""
    COVERAGE = "coverage"
    """Too few of a run's verdicts are there."""
    DRIFT = "drift"
    """A `check-drift` job finds that a judge has changed."""
    FAILED = "failed"
    """A job failed."""


class EventKind(StrEnum):
    """What is told."""

    FIRED = "fired"
    RECOVERED = "recovered"
    TEST = "test"


_OF = {
    "requirements": Watched.RATE,
    "min_coverage": Watched.COVERAGE,
    "evaluator": Watched.COVERAGE,
    "job_type": Watched.FAILED,
}
"""What is said of one kind of alert only."""
_NEEDED = {Watched.RATE: "requirements", Watched.COVERAGE: "min_coverage"}


class NewAlert(BaseModel):
    """An alert that is to be stored."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    name: Annotated[str, StringConstraints(min_length=1, max_length=100), OneLine]
    """An owner uses it once."""
    watches: Watched
    app_id: Annotated[str, StringConstraints(min_length=1, max_length=100), OneLine] | None = None
    """Only runs and drift checks of this app."""
    requirements: list[Annotated[str, StringConstraints(max_length=300)]] = Field(
        default_factory=list[str], max_length=10
    )
    """Of `rate`: what must hold, as of a gate: `correctness.pass >= 0.9`. It fires when the gate
    would fail, and recovers when it would pass."""
    evaluator: Name | None = None
    """Of `coverage`; null: the evaluator with the lowest."""
    min_coverage: float | None = Field(default=None, gt=0, le=1)
    """Of `coverage`: it fires below."""
    job_type: (
        Annotated[str, Written(r"^[a-z][a-z0-9-]{0,49}$", "a job type, as evaluate-batch")] | None
    ) = None
    """Of `failed`; null: jobs of every type."""
    webhook_url: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = None
    """Where it is sent, besides the worker's log. A host of EVALQUEUE_WEBHOOK_HOSTS. The path and
    query are not shown again."""

    @field_validator("requirements")
    @classmethod
    def _are_bounds(cls, requirements: list[str]) -> list[str]:
        try:
            found = [parse(each) for each in requirements]
        except BadRequirement as error:
            raise ValueError(str(error)) from error
        if any(isinstance(each, NoWorse) for each in found):
            raise ValueError("An alert has no baseline: write bounds, as 'correctness >= 0.9'")
        return requirements

    @field_validator("webhook_url")
    @classmethod
    def _may_be_called(cls, url: str | None) -> str | None:
        if url is not None:
            try:
                webhook.target(url)
            except TargetRefused as refused:
                raise ValueError(str(refused)) from None
        return url

    @model_validator(mode="after")
    def _fits_what_it_watches(self) -> Self:
        for field, watched in _OF.items():
            if getattr(self, field) and watched is not self.watches:
                raise ValueError(f"{field} is for alerts that watch {watched}")
        needed = _NEEDED.get(self.watches)
        if needed is not None and not getattr(self, needed):
            raise ValueError(f"{needed}: an alert that watches {self.watches} needs it")
        if self.watches is Watched.FAILED and self.app_id is not None:
            raise ValueError("app_id is for alerts that watch runs or drift")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert of an owner: a row of `alerts`."""

    id: UUID
    owner: str
    name: str
    watches: str
    app_id: str | None
    job_type: str | None
    requirements: list[str]
    evaluator: str | None
    min_coverage: float | None
    webhook_url: str | None
    firing_since: datetime | None
    created_at: datetime

    @property
    def webhook_origin(self) -> str | None:
        """Where it is sent, without path and query, which may be secrets."""
        return None if self.webhook_url is None else webhook.origin(self.webhook_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedAlert(Alert):
    """An alert with its newest event; None: it has none."""

    event_id: UUID | None
    kind: str | None
    explanation: str | None
    job_id: UUID | None
    run_id: UUID | None
    delivered_at: datetime | None
    event_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """An event: a row of `alert_events`, with its alert."""

    id: UUID
    name: str
    owner: str
    watches: str
    app_id: str | None
    webhook_url: str | None
    kind: str
    explanation: str
    figures: Mapping[str, Any]
    job_id: UUID | None
    run_id: UUID | None
    created_at: datetime
