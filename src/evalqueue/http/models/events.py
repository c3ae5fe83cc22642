"""The JSON of event streams."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field, create_model

from evalqueue import jobs
from evalqueue.http.models.fields import JobId, Model
from evalqueue.http.models.jobs import JobJson

MAX_EVENT_ID = 100  # characters; longer ones can't be ours

# Requests


class WatchJobs(Model):
    last_event_id: str | None = Field(None, max_length=MAX_EVENT_ID)
    """The last `id` that was received: the stream begins with what came after it."""


class WatchJob(JobId):
    last_event_id: str | None = Field(None, max_length=MAX_EVENT_ID)
    """The last `id` that was received."""


# Events

_LARGE = {"params", "result"}
_SMALL: dict[str, Any] = {
    name: (field.annotation, field)
    for name, field in JobJson.model_fields.items()
    if name not in _LARGE
}

JobEvent: type[BaseModel] = create_model(
    "JobEvent", __base__=Model, __doc__="A job as it is now, without params and result.", **_SMALL
)


class QueueEvent(Model):
    """A queue in which positions have changed."""

    queue: str
    ahead: dict[UUID, int]
    """How many jobs are before each of the first jobs. Any other job has at least as many before
    it."""


class Resync(Model):
    """Changes may have been missed: read everything again."""


def job_json(job: jobs.Job) -> bytes:
    """A job with all its fields."""
    return JobJson.of(job).model_dump_json().encode()


def job_event_json(job: jobs.Job) -> bytes:
    """A job as a `JobEvent`."""
    return JobJson.of(job).model_dump_json(exclude=_LARGE).encode()
