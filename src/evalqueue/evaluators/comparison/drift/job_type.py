"""The job type `check-drift`: its params, and the job that judges the conversations again."""

from collections.abc import Sequence
from typing import Self
from uuid import UUID

from pydantic import Field

from evalqueue.errors import InvalidParams
from evalqueue.evaluators.batch.asking_params import EarlierParams
from evalqueue.evaluators.batch.file_params import FileParams
from evalqueue.evaluators.batch.job_type import SOURCES, EvaluateBatch
from evalqueue.evaluators.comparison.drift import store
from evalqueue.evaluators.comparison.drift.decision import Tolerance
from evalqueue.evaluators.comparison.drift.store import Anchor
from evalqueue.evaluators.judging.threads import choose
from evalqueue.evaluators.runs.params import NAME_LIMIT
from evalqueue.jobtypes import AdmissionContext, JobParams, decoded
from evalqueue.postgres.database import Connection
from evalqueue.problems import as_line

CONVERSATIONS_MAX = 2_000
_OVER = frozenset({"completed", "completed_with_errors"})
_OWN = frozenset({
    *SOURCES, *FileParams.model_fields, *EarlierParams.model_fields,
    "name", "description", "thread_ids", "sample_size", "seed",
})  # fmt: skip
"""Params of a batch that say what is judged, or that answers of earlier runs are taken."""


class CheckDrift(JobParams, job_type="check-drift"):
    """Judge conversations of a run again, as they were judged then, to see whether the judge has
    changed."""

    anchor: UUID
    """A completed `evaluate-batch` run of the same owner (its id, or its job's)."""
    sample_size: int | None = Field(default=None, ge=1, le=CONVERSATIONS_MAX)
    """Only so many of its conversations, drawn by `seed`: the same ones each time. Default: all, at
    most 2,000."""
    seed: int = 0
    """Another seed draws other conversations."""
    false_alarm_rate: float = Field(default=0.05, gt=0, le=0.5)
    """How often a judge that is the same may raise an alarm, over all scores."""
    tolerated_flips: float = Field(default=0.1, ge=0.001, le=0.5)
    """The share of labels that a judge that is the same may give otherwise."""

    async def admit(self, admission: AdmissionContext) -> Self:
        """Refuse an anchor that can't be judged again."""
        async with admission.database.connection() as connection:
            found = await self.found(connection, owner=admission.owner)
        self.batch(found, ["any"])
        return self.model_copy(update={"anchor": found.id})

    async def found(self, connection: Connection, *, owner: str) -> Anchor:
        """The anchor.

        Raises:
            InvalidParams: there is none, it is not completed, or its dataset was deleted.
        """
        found = await store.anchor(connection, self.anchor, owner=owner)
        if found is None:
            raise InvalidParams.of("anchor", f"There is no batch {self.anchor}")
        if found.status not in _OVER:
            raise InvalidParams.of("anchor", f"The run is {found.status}: wait, or take another")
        if found.dataset_id is None:
            raise InvalidParams.of("anchor", "The dataset of the run was deleted: take another")
        return found

    async def thread_ids(self, connection: Connection, anchor: Anchor) -> Sequence[str]:
        """The conversations that are judged again."""
        judged = await store.judged(connection, anchor.id)
        size = self.sample_size or CONVERSATIONS_MAX
        return choose(judged, sample_size=size, seed=self.seed).thread_ids

    def batch(self, anchor: Anchor, thread_ids: Sequence[str]) -> EvaluateBatch:
        """The job that judges them as the anchor did.

        Raises:
            InvalidParams: its params are not understood any more.
        """
        frozen = {
            name: value
            for name, value in anchor.config.get("params", {}).items()
            if name not in _OWN and value is not None
        }
        about = {
            "app_id": anchor.app_id,
            "app_digest": anchor.app_digest,
            "llm_provider": anchor.llm_provider,
            "llm_model": anchor.llm_model,
        }
        params = {
            **frozen,
            **{name: value for name, value in about.items() if value is not None},
            "evaluators": anchor.evaluators,
            "dataset_id": anchor.dataset_id,
            "thread_ids": list(thread_ids),
            "name": as_line(f"Drift check of {anchor.name or anchor.id}")[:NAME_LIMIT],
        }
        try:
            return decoded(EvaluateBatch, params)
        except InvalidParams as error:
            raise InvalidParams.of("anchor", f"It can't be judged again: {error}") from error

    @property
    def tolerance(self) -> Tolerance:
        return Tolerance(
            false_alarm_rate=self.false_alarm_rate, tolerated_flips=self.tolerated_flips
        )
