"""Choices for a job's params: the evaluators and the LLM providers of this process."""

from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.providers.registry import ProviderSettings, readiness
from evalqueue.http.callers import RequestContext
from evalqueue.http.models import figures as models
from evalqueue.http.operations import EmptyRequest, Operation


async def list_evaluators(
    context: RequestContext, request: EmptyRequest
) -> list[models.KnownEvaluator]:
    return [
        models.KnownEvaluator(**kind.declaration.model_dump(), switch=kind.switch)
        for kind in registry.installed().values()
    ]


async def list_providers(
    context: RequestContext, request: EmptyRequest
) -> list[models.KnownProvider]:
    return [models.KnownProvider.model_validate(each) for each in readiness(ProviderSettings())]


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/evaluators",
        tag="choices",
        summary="The evaluators that are installed",
        handler=list_evaluators,
    ),
    Operation(
        method="GET",
        path="/api/providers",
        tag="choices",
        summary="The LLM providers, and whether this process can use them",
        handler=list_providers,
    ),
)
