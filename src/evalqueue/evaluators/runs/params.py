"""Job types whose jobs have a run."""

from pathlib import PurePath
from typing import Annotated

from pydantic import Field, StringConstraints

from evalqueue.evaluators.runs import store
from evalqueue.evaluators.runs.cap_params import refuse_used_up
from evalqueue.evaluators.runs.model_params import ModelParams
from evalqueue.jobtypes import AdmissionContext, JobParams
from evalqueue.postgres.database import Connection
from evalqueue.problems import OneLine, Written, as_line

NAME_LIMIT = 200  # characters

AppId = Annotated[str, StringConstraints(min_length=1, max_length=100), OneLine]
RunName = Annotated[str, StringConstraints(max_length=NAME_LIMIT), OneLine]
_DIGEST = r"^sha256:[0-9a-f]{64}$"
AppDigest = Annotated[
    str, Written(_DIGEST, "the whole digest of a version of an app, as in sha256:5f3a…")
]
DatasetId = Annotated[str, Written(_DIGEST, "the whole id of a stored dataset, as in sha256:5f3a…")]


class RunParams(JobParams):
    """Params of a job type whose jobs have a run (`eval_runs`), opened with the job."""

    name: RunName | None = None
    """The name of the run."""
    description: str | None = Field(default=None, max_length=2000)
    """What the run is about."""

    @classmethod
    async def declare(cls, connection: Connection) -> None:
        await store.declare(connection, cls.job_type)

    async def admit_retry(self, admission: AdmissionContext) -> None:
        """Refuse a job that asks an LLM once its owner's month is used up."""
        asks = isinstance(self, ModelParams) and self.llm_provider is not None
        await refuse_used_up(admission, calls_llm=asks and getattr(self, "replay", None) is None)


def usual_name(source: str, app_id: str) -> str:
    """What a run is called that was given no name: after what it is about, and its app."""
    return as_line(f"{PurePath(source).name}, {app_id}")[:NAME_LIMIT]
