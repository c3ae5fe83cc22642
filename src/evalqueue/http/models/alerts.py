"""The JSON of alerts."""

from typing import Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field

from evalqueue.evaluators.alerts.alert import Alert, ListedAlert, NewAlert, Watched
from evalqueue.http.models.fields import Model, Moment, matching_fields

# Requests


class AlertsQuery(Model):
    firing: bool | None = None
    """Only those that fire, or only the others."""
    limit: int = Field(100, ge=1, le=1000)


class AddAlert(NewAlert, Model):
    """What is to be watched, and where its events are sent."""

    model_config = ConfigDict(extra="forbid")


class AlertKey(Model):
    alert_id: UUID


# Responses


class LastEventJson(Model):
    """The newest event of an alert."""

    id: UUID
    kind: Literal["fired", "recovered"]
    explanation: str
    job_id: UUID | None
    """The job that decided."""
    run_id: UUID | None
    delivered_at: Moment | None
    """When the webhook answered."""
    created_at: Moment


class AlertJson(Model):
    """An alert, without the path and query of its webhook."""

    id: UUID
    owner: str
    name: str
    watches: Watched
    app_id: str | None
    requirements: list[str]
    evaluator: str | None
    min_coverage: float | None
    job_type: str | None
    webhook_origin: str | None
    """Null: its events are in the worker's log only."""
    firing_since: Moment | None
    """Null: it does not fire."""
    created_at: Moment
    last_event: LastEventJson | None
    """Null: nothing yet."""

    @classmethod
    def of(cls, alert: Alert) -> Self:
        fields: dict[str, Any] = {**matching_fields(cls, alert), "last_event": None}
        if isinstance(alert, ListedAlert) and alert.event_id is not None:
            fields["last_event"] = {
                "id": alert.event_id,
                "kind": alert.kind,
                "explanation": alert.explanation,
                "job_id": alert.job_id,
                "run_id": alert.run_id,
                "delivered_at": alert.delivered_at,
                "created_at": alert.event_at,
            }
        return cls.model_validate(fields)


class Alerts(Model):
    """Alerts, those that fire first."""

    alerts: list[AlertJson]


class RemovedAlert(Model):
    """The alert is no more, nor are its events."""

    id: UUID
    name: str


class TestedAlert(Model):
    """A message that tells nothing is on its way."""

    event_id: UUID
    job_id: UUID
    """The job that sends it."""
