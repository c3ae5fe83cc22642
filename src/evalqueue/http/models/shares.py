"""The JSON of links to reports."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from evalqueue.evaluators.figures.reports import shares
from evalqueue.http.models.fields import Model, Moment


class ShareRun(Model):
    """How long a link to the report of a run is good for."""

    run_id: UUID
    days: Annotated[int, Field(ge=1, le=shares.MAX_DAYS)] = shares.DAYS


class RunShareJson(Model):
    """A link to the report of a run, without its token."""

    id: UUID
    created_at: Moment
    expires_at: Moment


class SharedRun(Model):
    """A link that was just made."""

    id: UUID
    created_at: Moment
    expires_at: Moment
    url: str
    """Who has it sees the report, and nothing else. It is shown only now."""


class RunShares(Model):
    """The links of a run that are good, newest first."""

    run_id: UUID
    shares: list[RunShareJson]


class ShareKey(Model):
    run_id: UUID
    share_id: UUID


class ShareToken(Model):
    token: str
