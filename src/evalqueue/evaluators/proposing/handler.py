"""How `propose-app` works: one question to the judge; the draft is the job's result."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from evalqueue.context import JobContext
from evalqueue.errors import InvalidParams, JobFailed
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.proposing import answer, asking, sample
from evalqueue.evaluators.proposing.job_type import ProposeApp
from evalqueue.evaluators.providers.earlier.replay import Replay
from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.vendors.simulated import SIMULATED
from evalqueue.evaluators.runs import usage
from evalqueue.evaluators.runs.calls import LlmAccess
from evalqueue.evaluators.runs.cap_params import price_list
from evalqueue.jobtypes import AdmissionContext
from evalqueue.settings import Settings


async def propose_app(
    context: JobContext, params: ProposeApp, settings: Settings, access: LlmAccess
) -> Mapping[str, Any]:
    """Ask the judge about some conversations of the dataset.

    Raises:
        JobFailed: the params are wrong, or the judge gave no answer. Its result then has the draft
            without proposals.
    """
    database, job_id = context.database, context.job.id
    until_done = partial(database.until_done, what=f"Job {job_id}")
    admission = AdmissionContext(settings=settings, database=database, owner=context.job.owner)
    try:
        dataset = await database.retry_transient(
            partial(params.dataset, admission), what=f"Job {job_id}"
        )
    except InvalidParams as error:
        raise JobFailed(str(error)) from error
    draft = asking.recorded(dataset, params.app_id)
    choice = access.choose_model(params)
    if choice.provider == SIMULATED.name:
        return asking.without(draft, asking.OF_SIMULATED).as_json()
    shown = await until_done(partial(sample.of_dataset, dataset_id=dataset.id))
    recorded = await until_done(partial(usage.recorded, job_id=job_id))
    prices = await price_list(access.settings, choice)
    context.progress(0, 1, f"Asking about {shown.threads} of {dataset.threads} conversations")
    parameters = replace(
        answer.PARAMETERS,
        temperature=params.temperature,
        max_output_tokens=params.max_output_tokens or answer.PARAMETERS.max_output_tokens,
        model_settings=params.model_settings,
    )
    async with access.open(context, params, choice, prices, run_id=None) as (caller, _):
        try:
            drafted = await asking.ask(
                Judge(Replay(caller, recorded)), draft, dataset, shown,
                model=choice.name, parameters=parameters,
            )  # fmt: skip
        except ProviderError as error:
            reason = f"The judge gave no answer: {error.outcome}: {error.message}"
            raise JobFailed(reason, result=asking.without(draft, reason).as_json()) from error
    used = await context.retry_fenced(partial(usage.of_job, job_id=job_id))
    context.progress(1, 1, f"{len(drafted.proposed)} proposals")
    return {**drafted.as_json(), "used": used.get(answer.NAME, usage.NO_CALLS)}
