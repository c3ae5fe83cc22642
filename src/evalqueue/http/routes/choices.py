"""What a job can be given: the apps there are, and the LLM providers this process can use."""

from pydantic import TypeAdapter

from evalqueue.evaluators import apps
from evalqueue.evaluators.judging.threads import evaluators_for
from evalqueue.evaluators.providers.registry import ProviderSettings, readiness
from evalqueue.http.callers import Call
from evalqueue.http.models import figures as json
from evalqueue.http.operations import AnyOperation, Nothing, Operation


async def list_profiles(_call: Call, _asked: Nothing) -> list[json.KnownApp]:
    return [
        json.KnownApp(
            app_id=app.app_id,
            name=app.name,
            about=app.about.strip(),
            evaluators=list(evaluators_for(app)),
            has_adversarial=app.adversarial is not None,
        )
        for app in map(apps.load, apps.known())
    ]


async def list_providers(_call: Call, _asked: Nothing) -> list[json.KnownProvider]:
    return [json.KnownProvider.model_validate(each) for each in readiness(ProviderSettings())]


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/api/profiles",
        tag="choices",
        summary="The apps that can be evaluated",
        asks=Nothing,
        tells=TypeAdapter(list[json.KnownApp]),
        answer=list_profiles,
    ),
    Operation(
        method="GET",
        path="/api/providers",
        tag="choices",
        summary="The LLM providers, and whether this process can use them",
        asks=Nothing,
        tells=TypeAdapter(list[json.KnownProvider]),
        answer=list_providers,
    ),
)
