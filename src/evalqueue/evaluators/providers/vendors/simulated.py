"""The simulated vendor: a server that answers with gold labels and noise.

It speaks OpenAI's protocol. Where no address is set, it is started inside this process, and judges
only what it has a gold label for.
"""

from contextlib import AsyncExitStack

from evalqueue.evaluators.providers.provider import Provider, ProviderType, VendorSettings


class SimulatedSettings(VendorSettings):
    """The address of a server that runs already."""

    evalqueue_simulated_url: str | None = None


async def _prepare(settings: SimulatedSettings, closing: AsyncExitStack) -> SimulatedSettings:
    if settings.evalqueue_simulated_url is not None:
        return settings
    from evalqueue.evaluators.simulated.vendor.server import Behaviour, SimulatedServer

    server = await closing.enter_async_context(SimulatedServer(Behaviour(only_gold=True)))
    return SimulatedSettings(evalqueue_simulated_url=server.url)


async def _open(settings: SimulatedSettings, model: str) -> Provider:
    from evalqueue.evaluators.providers.openai import OpenAIProvider
    from evalqueue.evaluators.simulated.vendor.answers import NO_KEY_SET

    return OpenAIProvider.open(
        model=model,
        api_key="no-key-needed",
        base_url=f"{(settings.evalqueue_simulated_url or '').rstrip('/')}/v1",
        name=SIMULATED.name,
        not_judged=NO_KEY_SET,
    )


SIMULATED = ProviderType(
    name="simulated",
    settings=SimulatedSettings,
    keys=(),
    module="evalqueue.evaluators.providers.openai",
    prepare=_prepare,
    open=_open,
    without_batches=lambda settings: (
        None
        if settings.evalqueue_simulated_url
        else "The simulated provider has no batches inside a worker, with which they would end: "
        "run it as a server, and set EVALQUEUE_SIMULATED_URL"
    ),
    default_model=lambda _: "simulated-judge",
)
