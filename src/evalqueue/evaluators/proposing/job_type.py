"""The job type `propose-app`: its params, and what is refused before a job is stored."""

from typing import Self

from pydantic import Field

from evalqueue.errors import InvalidParams
from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import InvalidApp
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.store import Dataset
from evalqueue.evaluators.proposing import asking
from evalqueue.evaluators.providers.registry import ProviderSettings, ProviderUnavailable, resolve
from evalqueue.evaluators.runs.cap_params import CapParams, refuse_unpriced, refuse_used_up
from evalqueue.evaluators.runs.model_params import MAX_OUTPUT_TOKENS, ModelParams
from evalqueue.evaluators.runs.params import AppId, DatasetId
from evalqueue.jobtypes import AdmissionContext, JobParams


class ProposeApp(JobParams, CapParams, ModelParams, job_type="propose-app"):
    """Draft an app from a dataset, with what a judge proposes. No app is stored."""

    dataset_id: DatasetId
    """Where the conversations are."""
    app_id: AppId | None = None
    """Of the new app. Default: from the dataset's name."""
    max_output_tokens: int | None = Field(default=None, ge=16, le=MAX_OUTPUT_TOKENS)
    """The output tokens of the LLM call, with the reasoning before the answer. An answer that was
    cut off is requested once more, with more. Default: 8192."""
    max_wait_seconds: float = Field(default=600.0, gt=0, le=86_400)
    """The job fails once no LLM call was answered for so long."""

    @property
    def concurrency(self) -> int:
        """LLM calls in flight at most."""
        return 1

    @property
    def call_timeout_seconds(self) -> float:
        """Of one attempt at the LLM call: its answer is long."""
        return 180.0

    async def admit(self, admission: AdmissionContext) -> Self:
        """Refuse what can't work."""
        try:
            settings = ProviderSettings()
            choice = resolve(settings, self.llm_provider, self.llm_model)
            await refuse_unpriced(self, settings, choice, admission.owner)
            await refuse_used_up(admission)
        except ProviderUnavailable as error:
            raise InvalidParams.of(error.field, error.message) from error
        draft = asking.recorded(await self.dataset(admission), self.app_id)
        try:
            apps.parse(draft.as_toml(), where=draft.app_id)
        except InvalidApp as error:
            raise InvalidParams([each.within("params") for each in error.problems]) from error
        return self.model_copy(
            update={
                "app_id": draft.app_id,
                "llm_provider": choice.provider,
                "llm_model": choice.model,
            }
        )

    async def dataset(self, admission: AdmissionContext) -> Dataset:
        """The dataset, if the job's owner has it.

        Raises:
            InvalidParams: the owner has none with this id.
        """
        async with admission.database.connection() as connection:
            found = await datasets.get(connection, self.dataset_id, owner=admission.owner)
        if found is None:
            raise InvalidParams.of("dataset_id", f"There is no dataset {self.dataset_id}")
        return found
