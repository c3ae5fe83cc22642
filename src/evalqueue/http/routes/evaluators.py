"""The evaluators and the LLM providers that a job can name, and evaluators that are tried.

The calls of a trial are made by a worker, in a job.
"""

from dataclasses import replace

from starlette.exceptions import HTTPException

from evalqueue.errors import InvalidParams
from evalqueue.evaluators.apps import UnknownApp
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.plan import EvaluatorType
from evalqueue.evaluators.judging.registry import Origin
from evalqueue.evaluators.providers.registry import ProviderSettings, readiness
from evalqueue.evaluators.trying import store as trying_store
from evalqueue.evaluators.trying.job_type import TryEvaluators
from evalqueue.http.callers import RequestContext
from evalqueue.http.models import trying
from evalqueue.http.models.fields import JobId
from evalqueue.http.models.figures.evaluators import EvaluatorsQuery, KnownEvaluator, KnownProvider
from evalqueue.http.models.jobs import SubmittedJob
from evalqueue.http.operations import EmptyRequest, Operation
from evalqueue.http.routes.datasets import check_dataset
from evalqueue.http.uploads import InvalidRequest


async def list_evaluators(
    context: RequestContext, request: EvaluatorsQuery
) -> list[KnownEvaluator]:
    if not request.app_id:
        return [
            _known(Origin.INSTALLED if registry.is_usual(kind) else Origin.CATALOGUE, kind)
            for kind in registry.installed().values()
        ]
    async with context.connection() as connection:
        try:
            stored = await app_store.find(
                connection,
                request.app_id,
                owner=context.caller.visible_owner,
                first_owner=context.caller.name,
            )
        except UnknownApp as error:
            raise HTTPException(404, "App not found") from error
    return [_known(origin, kind) for origin, kind in registry.choices(stored.app)]


async def list_providers(context: RequestContext, request: EmptyRequest) -> list[KnownProvider]:
    return [KnownProvider.model_validate(each) for each in readiness(ProviderSettings())]


async def try_evaluators(context: RequestContext, request: TryEvaluators) -> SubmittedJob:
    try:
        await check_dataset(context, request.dataset_id)
        job = await context.client.submit(
            request, owner=context.caller.name, sees=context.caller.visible_owner
        )
    except InvalidParams as error:  # here the params are the body itself
        raise InvalidRequest(
            [replace(each, loc=("body", *each.loc[1:])) for each in error.problems]
        ) from error
    return SubmittedJob.of(job)


async def get_tried(context: RequestContext, request: JobId) -> trying.Tried:
    job = await context.client.get(request.job_id, owner=context.caller.visible_owner)
    if job.job_type != TryEvaluators.job_type:
        raise HTTPException(404, "Job not found: it tries no evaluators")
    async with context.connection() as connection:
        found = await trying_store.found(connection, job.id)
    return trying.Tried(
        job_id=job.id,
        status=job.status,
        error_message=job.error_message,
        evaluators=list(job.params.get("evaluators") or ()),
        thread_ids=list(job.params.get("thread_ids") or ()),
        threads=[trying.TriedThread.model_validate(each) for each in found],
    )


def _known(origin: Origin, kind: EvaluatorType) -> KnownEvaluator:
    return KnownEvaluator(**kind.declaration.model_dump(), origin=origin, switch=kind.switch)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/evaluators",
        tag="choices",
        summary="The evaluators that are installed; with an app, all that a job of it can name",
        handler=list_evaluators,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/providers",
        tag="choices",
        summary="The LLM providers, and whether this process can use them",
        handler=list_providers,
    ),
    Operation(
        method="POST",
        path="/api/evaluators/try",
        tag="choices",
        summary="Try evaluators on up to ten conversations, before an app is saved",
        in_body=True,
        handler=try_evaluators,
        status=201,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/evaluators/tried/{job_id}",
        tag="choices",
        summary="What evaluators that are tried have found so far",
        handler=get_tried,
        errors=(404, 503),
    ),
)
