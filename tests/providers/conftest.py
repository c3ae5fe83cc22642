"""A simulated vendor, and providers that talk to it through the real SDKs."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from evalqueue.evaluators.providers.openai import OpenAIProvider
from evalqueue.evaluators.providers.provider import CompletionRequest, Provider
from evalqueue.evaluators.providers.vendors.gemini.client import GeminiProvider
from evalqueue.evaluators.simulated.vendor.server import Behaviour, SimulatedServer

Serve = Callable[[Behaviour], Awaitable[SimulatedServer]]
Open = Callable[..., Awaitable[Provider]]


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def serve(closing: AsyncExitStack) -> Serve:
    """Start a simulated vendor that is stopped after the test."""

    async def start(behaviour: Behaviour) -> SimulatedServer:
        return await closing.enter_async_context(SimulatedServer(behaviour))

    return start


@pytest.fixture
async def server(serve: Serve) -> SimulatedServer:
    return await serve(Behaviour(gold={}))


@pytest.fixture
def open_provider(closing: AsyncExitStack) -> Open:
    """Open a provider by name, that talks to `url` and is closed after the test."""

    async def open_(
        name: str, url: str, *, model: str = "a-model", key: str = "sk-made-up"
    ) -> Provider:
        provider: Provider
        match name:
            case "gemini":
                provider = await GeminiProvider.open(model=model, api_key=key, base_url=url)
            case "azure_openai":
                provider = OpenAIProvider.open_azure(
                    deployment=model,
                    api_key=key,
                    endpoint=url,
                    api_version="2025-03-01-preview",
                    name=name,
                )
            case _:
                provider = OpenAIProvider.open(
                    model=model, api_key=key, base_url=f"{url}/v1", name=name
                )
        closing.push_async_callback(provider.aclose)
        return provider

    return open_


@pytest.fixture
def request_() -> CompletionRequest:
    """What the intent evaluator would ask about the first turn of a thread."""
    return CompletionRequest(
        system="You are a judge.",
        prompt='Thread: "t-1"\nTurn to judge: 1\nTurn 1\nUser:\n    hello there\n',
        schema_name="intent",
        schema={
            "type": "object",
            "properties": {
                "evidence": {"type": "string"},
                "reasoning": {"type": "string"},
                "predicted_agent": {"type": "string", "enum": ["FoodAgent", "Greeting"]},
                "query_type": {"type": "string", "enum": ["logging", "question"]},
                "confidence": {"type": "number"},
            },
            "required": ["evidence", "reasoning", "predicted_agent", "query_type", "confidence"],
            "additionalProperties": False,
        },
    )
