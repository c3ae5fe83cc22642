"""The JSON of what is told as it happens, and what may be asked for it."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field, create_model

from evalqueue import jobs
from evalqueue.http.models.jobs import Job, JobId, Model

MAX_EVENT_ID = 100  # characters; what is longer was never ours

# What is asked


class FollowJobs(Model):
    last_event_id: str | None = Field(None, max_length=MAX_EVENT_ID)
    """The last `id` that was received: what came after it is told first."""


class FollowJob(JobId):
    last_event_id: str | None = Field(None, max_length=MAX_EVENT_ID)
    """The last `id` that was received."""


# What is told

_LARGE = {"params", "result"}
_BRIEF: dict[str, Any] = {
    name: (each.annotation, each) for name, each in Job.model_fields.items() if name not in _LARGE
}

JobEvent: type[BaseModel] = create_model(
    "JobEvent", __base__=Model, __doc__="A job as it is now, without params and result.", **_BRIEF
)


class QueueEvent(Model):
    """A queue that has moved on."""

    queue: str
    ahead: dict[UUID, int]
    """How many jobs stand before each of the first; whoever is not among them has at least as many
    before it."""


class Resync(Model):
    """Something may have been missed: read again."""


def whole(job: jobs.Job) -> bytes:
    """A job, all of it."""
    return Job.of(job).model_dump_json().encode()


def brief(job: jobs.Job) -> bytes:
    """A job without what is large: a `JobEvent`."""
    return Job.of(job).model_dump_json(exclude=_LARGE).encode()
