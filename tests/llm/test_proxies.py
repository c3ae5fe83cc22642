"""A machine whose way out is a proxy that the environment names."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from evalqueue.evaluators.llm.errors import Outcome, ProviderError
from evalqueue.evaluators.llm.provider import CompletionRequest, Provider
from evalqueue.evaluators.llm.simulated import SimulatedServer

Open = Callable[..., Awaitable[Provider]]
PROVIDERS = pytest.mark.parametrize("name", ["openai", "azure_openai", "gemini", "simulated"])
PATIENT_SECONDS = 30.0


@pytest.fixture(autouse=True)
def names_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@PROVIDERS
async def test_this_machine_is_not_asked_for_at_a_proxy(
    name: str,
    server: SimulatedServer,
    open_provider: Open,
    request_: CompletionRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody is there
    provider = await open_provider(name, server.url)

    completion = await provider.complete(request_, timeout=PATIENT_SECONDS)

    assert completion.model == "simulated-judge"


@PROVIDERS
async def test_others_are_asked_for_at_the_proxy(
    name: str, open_provider: Open, request_: CompletionRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 503 No Way Out\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        provider = await open_provider(name, "http://judge.example")
        with pytest.raises(ProviderError) as failure:
            await provider.complete(request_, timeout=PATIENT_SECONDS)

    assert failure.value.outcome is Outcome.TRANSIENT
    assert asked[0].startswith(b"POST http://judge.example/")
