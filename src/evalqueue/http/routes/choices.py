"""Choices for a job's params: the evaluators and the LLM providers of this process."""

from starlette.exceptions import HTTPException

from evalqueue.evaluators.apps import UnknownApp
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.plan import EvaluatorType
from evalqueue.evaluators.judging.registry import Origin
from evalqueue.evaluators.providers.registry import ProviderSettings, readiness
from evalqueue.http.callers import RequestContext
from evalqueue.http.models import figures as models
from evalqueue.http.operations import EmptyRequest, Operation


async def list_evaluators(
    context: RequestContext, request: models.EvaluatorsQuery
) -> list[models.KnownEvaluator]:
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


async def list_providers(
    context: RequestContext, request: EmptyRequest
) -> list[models.KnownProvider]:
    return [models.KnownProvider.model_validate(each) for each in readiness(ProviderSettings())]


def _known(origin: Origin, kind: EvaluatorType) -> models.KnownEvaluator:
    return models.KnownEvaluator(**kind.declaration.model_dump(), origin=origin, switch=kind.switch)


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
)
