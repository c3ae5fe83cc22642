"""The params of a batch about the model that it asks and what earlier runs have, and the check of
those at submission."""

from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from evalqueue.errors import InvalidParams
from evalqueue.evaluators.batch import earlier_runs
from evalqueue.evaluators.batch.earlier_runs import ReplayableRun
from evalqueue.evaluators.batch.economy.params import EconomyParams, refuse_without_batches
from evalqueue.evaluators.providers.registry import ModelChoice, ProviderSettings, resolve
from evalqueue.evaluators.runs.cap_params import CapParams, refuse_unpriced, refuse_used_up
from evalqueue.evaluators.runs.model_params import ModelParams
from evalqueue.jobtypes import AdmissionContext


class EarlierParams(BaseModel):
    """What is taken from earlier runs."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    reuse: bool = False
    """Take the answers to identical questions from earlier runs of the same owner: the same
    provider, endpoint, model, parameters and prompt."""
    reuse_max_age_days: float = Field(default=30.0, gt=0, le=3650)
    """Older answers are not taken."""
    replay: UUID | None = None
    """Read the recorded answers of this batch of the same owner again (the id of its run, or of its
    job): no LLM is called, nothing is paid. What was not asked then, with the same texts, is not
    judged (`not_recorded`)."""
    skip_evaluated: bool = False
    """Leave out conversations that earlier runs of the same owner have evaluated without a gap, by
    the same versions of the evaluators, for the same app, with the same model."""

    @model_validator(mode="after")
    def _takes_answers_in_one_way(self) -> Self:
        if self.replay is not None and self.reuse:
            raise ValueError("replay takes all answers from one run: leave out reuse")
        return self


class AskingParams(CapParams, ModelParams, EconomyParams, EarlierParams):
    """Which model is asked, how, for how much, and what is taken from earlier runs."""


async def replayed_run(params: EarlierParams, admission: AdmissionContext) -> ReplayableRun | None:
    """The run that is replayed. None: none is.

    Raises:
        InvalidParams: the owner has no such batch, or a panel judged it.
    """
    if params.replay is None:
        return None
    async with admission.database.connection() as connection:
        found = await earlier_runs.replayable(connection, params.replay, owner=admission.owner)
    if found is None:
        raise InvalidParams.of("replay", f"There is no batch {params.replay}")
    if found.has_panel:
        raise InvalidParams.of(
            "replay", "A panel judged it: replay does not tell the answers of its models apart"
        )
    return found


async def admitted_model(
    params: AskingParams,
    admission: AdmissionContext,
    settings: ProviderSettings,
    replayed: ReplayableRun | None,
    *,
    calls_llm: bool,
) -> ModelChoice | None:
    """The model that a job asks: its own or, if it names none, that of the run that it replays.
    None: its evaluators ask none.

    Raises:
        ProviderUnavailable: there is no such model, or no key.
        InvalidParams: it can't be asked in this way, or a cap allows no call.
    """
    if not calls_llm:
        return None
    names_model = params.llm_provider is not None or params.llm_model is not None
    asked = params if replayed is None or names_model else replayed
    choice = resolve(settings, asked.llm_provider, asked.llm_model)
    refuse_without_batches(params, settings, choice)
    await refuse_unpriced(params, settings, choice, admission.owner)
    await refuse_used_up(admission, calls_llm=params.replay is None)
    return choice
