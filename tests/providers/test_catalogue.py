"""Which provider a job means, and that a process keeps one of each."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import CompletionRequest
from evalqueue.evaluators.providers.registry import (
    ModelChoice,
    ProviderRegistry,
    ProviderSettings,
    ProviderUnavailable,
    resolve,
)
from evalqueue.evaluators.simulated.conversations import kaira_gold
from evalqueue.evaluators.simulated.vendor.server import Behaviour, SimulatedServer

OPENAI = {"OPENAI_API_KEY": "sk-made-up"}
AZURE = {"AZURE_OPENAI_API_KEY": "az-made-up", "AZURE_OPENAI_ENDPOINT": "http://127.0.0.1:1"}
GEMINI = {"GEMINI_API_KEY": "gm-made-up"}
OURS = [name.upper() for name in ProviderSettings.model_fields]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing about providers."""
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
async def registry(environment: pytest.MonkeyPatch) -> AsyncIterator[ProviderRegistry]:
    one = ProviderRegistry(ProviderSettings())
    yield one
    await one.aclose()


@pytest.mark.parametrize(
    ("variables", "provider", "model", "chosen"),
    [
        (OPENAI, None, "m", ("openai", "m")),
        (GEMINI, None, "m", ("gemini", "m")),
        ({"GOOGLE_API_KEY": "k"}, None, "m", ("gemini", "m")),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "/a/file"}, None, "m", ("gemini", "m")),
        (AZURE, None, "m", ("azure_openai", "m")),
        (AZURE | {"AZURE_OPENAI_DEPLOYMENT": "d"}, None, None, ("azure_openai", "d")),
        (OPENAI | GEMINI, "gemini", "m", ("gemini", "m")),
        (
            OPENAI | GEMINI | {"EVALQUEUE_LLM_PROVIDER": "openai", "EVALQUEUE_LLM_MODEL": "m"},
            None,
            None,
            ("openai", "m"),
        ),
        (OPENAI | {"EVALQUEUE_LLM_MODEL": "m"}, "openai", None, ("openai", "m")),
        (OPENAI | {"EVALQUEUE_LLM_MODEL": "m"}, "openai", "other", ("openai", "other")),
        ({}, "simulated", None, ("simulated", "simulated-judge")),
        ({"EVALQUEUE_LLM_PROVIDER": "simulated"}, None, "m", ("simulated", "m")),
        (OPENAI | {"GEMINI_API_KEY": ""}, "", "m", ("openai", "m")),
    ],
)
def test_a_provider_and_a_model_are_found(
    variables: dict[str, str],
    provider: str | None,
    model: str | None,
    chosen: tuple[str, str],
    environment: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)

    choice = resolve(ProviderSettings(), provider, model)

    assert (choice.provider, choice.model) == chosen


@pytest.mark.parametrize(
    ("variables", "provider", "model", "field", "message"),
    [
        ({}, None, "m", "llm_provider", "no key for any provider"),
        (OPENAI | GEMINI, None, "m", "llm_provider", "keys for openai and gemini"),
        ({}, "claude", "m", "llm_provider", "openai, azure_openai, gemini, simulated"),
        ({}, "openai", "m", "llm_provider", "OPENAI_API_KEY"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1"}, "openai", "m", "llm_provider", "any text"),
        ({}, "gemini", "m", "llm_provider", "GEMINI_API_KEY"),
        ({"AZURE_OPENAI_API_KEY": "k"}, None, "m", "llm_provider", "AZURE_OPENAI_ENDPOINT"),
        (OPENAI, None, None, "llm_model", "set llm_model or EVALQUEUE_LLM_MODEL"),
        (
            OPENAI | {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_LLM_MODEL": "m"},
            "openai",
            None,
            "llm_model",
            "set llm_model",
        ),
    ],
)
def test_what_is_missing_is_named(
    variables: dict[str, str],
    provider: str | None,
    model: str | None,
    field: str,
    message: str,
    environment: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)

    with pytest.raises(ProviderUnavailable) as refusal:
        resolve(ProviderSettings(), provider, model)

    assert refusal.value.field == field
    assert message in refusal.value.message


def test_secrets_are_never_shown() -> None:
    settings = ProviderSettings(
        openai_api_key=SecretStr("sk-made-up"),
        azure_openai_api_key=SecretStr("sk-made-up"),
        gemini_api_key=SecretStr("sk-made-up"),
        google_api_key=SecretStr("sk-made-up"),
    )

    assert "sk-made-up" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_no_sdk_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys\n"
        "from evalqueue.evaluators.providers import policy, registry\n"
        "print([name for name in ('openai', 'google.genai', 'aiohttp', 'uvicorn', 'starlette')"
        " if name in sys.modules])"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


async def test_the_simulated_provider_comes_with_its_server(
    registry: ProviderRegistry, request_: CompletionRequest
) -> None:
    choice = resolve(ProviderSettings(), "simulated", None)

    (thread_id, turns), *_ = json.loads(kaira_gold().read_text("utf-8"))["intent"].items()
    (turn, label), *_ = turns.items()
    known = f"Thread: {json.dumps(thread_id)}\nTurn to judge: {turn}\nUser:\n    hello there\n"

    provider = await registry.provider(choice)
    completion = await provider.complete(replace(request_, prompt=known), timeout=30)
    with pytest.raises(ProviderError, match="not judged: no key set") as unknown:
        await provider.complete(request_, timeout=30)

    assert (provider.name, provider.model) == ("simulated", "simulated-judge")
    assert completion.model == "simulated-judge"
    assert json.loads(completion.text)["predicted_agent"] == label["predicted_agent"]
    assert unknown.value.outcome is CallOutcome.NO_KEY


async def test_a_choice_always_gets_the_same_provider(registry: ProviderRegistry) -> None:
    choice = ModelChoice(provider="simulated", model="a")
    other = ModelChoice(provider="simulated", model="b")

    provider = await registry.provider(choice)

    assert await registry.provider(ModelChoice(provider=choice.provider, model="a")) is provider
    assert await registry.provider(other) is not provider


async def test_closing_closes_the_server_and_its_providers(
    registry: ProviderRegistry, request_: CompletionRequest
) -> None:
    choice = ModelChoice(provider="simulated", model="a")
    provider = await registry.provider(choice)

    await registry.aclose()

    with pytest.raises((ProviderError, RuntimeError)):
        await provider.complete(request_, timeout=30)


@pytest.mark.parametrize("name", ["openai", "azure_openai", "gemini", "simulated"])
async def test_each_provider_goes_to_the_address_of_its_variable(
    name: str, environment: pytest.MonkeyPatch, request_: CompletionRequest
) -> None:
    async with SimulatedServer(Behaviour(gold={})) as server:
        for variable, value in (
            OPENAI
            | AZURE
            | GEMINI
            | {
                "OPENAI_BASE_URL": f"{server.url}/v1",
                "AZURE_OPENAI_ENDPOINT": server.url,
                "GOOGLE_GEMINI_BASE_URL": server.url,
                "EVALQUEUE_SIMULATED_URL": server.url,
            }
        ).items():
            environment.setenv(variable, value)
        settings = ProviderSettings()
        registry = ProviderRegistry(settings)

        provider = await registry.provider(resolve(settings, name, "m"))
        completion = await provider.complete(request_, timeout=30)
        await registry.aclose()

    assert provider.name == name
    assert completion.model == "simulated-judge"


async def test_an_unusable_credentials_file_is_an_auth_error(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "credentials.json"
    file.write_text("{}", encoding="utf-8")
    environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    settings = ProviderSettings()
    registry = ProviderRegistry(settings)

    with pytest.raises(ProviderError, match="GOOGLE_APPLICATION_CREDENTIALS can") as failure:
        await registry.provider(resolve(settings, "gemini", "m"))

    assert failure.value.outcome is CallOutcome.AUTH
    await registry.aclose()
