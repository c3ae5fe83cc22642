"""Servers that speak OpenAI's protocol and don't know all of its parameters."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import CompletionRequest, Provider
from evalqueue.evaluators.simulated.vendor.server import Behaviour, SimulatedServer

Open = Callable[..., Awaitable[Provider]]
Serve = Callable[[Behaviour], Awaitable[SimulatedServer]]
GOLD = {"intent": {"t-1": {"1": {"predicted_agent": "FoodAgent", "query_type": "question"}}}}


@pytest.mark.parametrize("name", ["openai", "azure_openai"])
@pytest.mark.parametrize(
    "unknown",
    [
        {"json_schema"},
        {"temperature"},
        {"max_tokens"},
        {"json_schema", "temperature", "max_tokens"},
        {"json_schema", "temperature", "max_completion_tokens"},
    ],
    ids=lambda unknown: "+".join(sorted(unknown)),
)
async def test_an_unknown_parameter_is_refused_once_and_remembered(
    name: str, unknown: set[str], serve: Serve, open_provider: Open, request_: CompletionRequest
) -> None:
    server = await serve(Behaviour(gold=GOLD, unknown_parameters=frozenset(unknown)))
    provider = await open_provider(name, server.url)

    first = await provider.complete(request_, timeout=30)
    refused = server.simulation.stats["by_status"].get("400", 0)
    second = await provider.complete(replace(request_, system="Another."), timeout=30)

    # A compatible server is asked with max_tokens first, the vendors' own with the newer name.
    first_choice = "max_completion_tokens" if name == "azure_openai" else "max_tokens"
    assert refused == len(unknown & {"json_schema", "temperature", first_choice})
    assert server.simulation.stats["by_status"].get("400", 0) == refused
    assert '"predicted_agent": "FoodAgent"' in first.text
    assert '"predicted_agent": "FoodAgent"' in second.text


async def test_a_server_that_knows_no_limit_at_all_is_a_bad_request(
    serve: Serve, open_provider: Open, request_: CompletionRequest
) -> None:
    unknown = frozenset({"max_tokens", "max_completion_tokens"})
    server = await serve(Behaviour(gold=GOLD, unknown_parameters=unknown))
    provider = await open_provider("openai", server.url)

    with pytest.raises(ProviderError, match="Unsupported parameter") as failure:
        await provider.complete(request_, timeout=30)

    assert failure.value.outcome is CallOutcome.BAD_REQUEST
