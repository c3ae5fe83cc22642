"""Job types whose jobs have a run."""

from evalqueue.evaluators.runs import store
from evalqueue.jobtypes import JobParams
from evalqueue.postgres.database import Connection


class RunParams(JobParams):
    """Params of a job type whose jobs have a run (`eval_runs`), opened with the job."""

    @classmethod
    async def declare(cls, connection: Connection) -> None:
        await store.declare(connection, cls.job_type)
