"""Job types whose jobs have a run."""

from pydantic import Field

from evalqueue.evaluators.runs import store
from evalqueue.jobtypes import JobParams
from evalqueue.postgres.database import Connection


class RunParams(JobParams):
    """Params of a job type whose jobs have a run (`eval_runs`), opened with the job."""

    name: str | None = Field(default=None, max_length=200)
    """The name of the run."""
    description: str | None = Field(default=None, max_length=2000)
    """What the run is about."""

    @classmethod
    async def declare(cls, connection: Connection) -> None:
        await store.declare(connection, cls.job_type)
