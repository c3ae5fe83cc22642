"""A response is not followed elsewhere, not unpacked, and not read without a limit."""

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from evalqueue.evaluators.providers.answer_bounds import ANSWER_MAX_BYTES
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import CompletionRequest, Provider

Open = Callable[..., Awaitable[Provider]]
PROVIDERS = pytest.mark.parametrize("name", ["openai", "azure_openai", "gemini", "simulated"])
MEBIBYTE = 1024**2


@asynccontextmanager
async def answering(head: str, *body: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server with the same response to every request; its address, and the heads it was sent."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(f"HTTP/1.1 {head}\r\nconnection: close\r\n\r\n".encode())
            for each in body:
                writer.write(each)
                await writer.drain()
        except OSError:
            pass  # the client has closed: it does not read the rest
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", seen


async def refusal(provider: Provider, request: CompletionRequest) -> ProviderError:
    with pytest.raises(ProviderError) as error:
        await provider.complete(request, timeout=30)
    return error.value


@PROVIDERS
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_not_followed_and_the_key_stays(
    name: str, status: str, open_provider: Open, request_: CompletionRequest
) -> None:
    async with answering("200 OK\r\ncontent-length: 2", b"{}") as (elsewhere, seen):
        location = f"location: {elsewhere}/v1/chat/completions"
        async with answering(f"{status}\r\n{location}\r\ncontent-length: 0") as (url, asked):
            error = await refusal(await open_provider(name, url), request_)

    assert seen == []
    assert len(asked) == 1
    assert error.outcome is CallOutcome.MODEL_MISSING
    assert "redirects are not followed" in str(error)
    assert elsewhere.removeprefix("http://") in str(error)


@PROVIDERS
async def test_a_compressed_body_is_not_unpacked(
    name: str, open_provider: Open, request_: CompletionRequest
) -> None:
    bomb = gzip.compress(b" " * 64 * MEBIBYTE)
    head = f"200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(bomb)}"
    async with answering(head, bomb) as (url, asked):
        provider = await open_provider(name, url)
        tracemalloc.start()
        try:
            error = await refusal(provider, request_)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert error.outcome is CallOutcome.TRANSIENT
    assert "compressed (gzip)" in str(error)
    assert peak < 16 * MEBIBYTE
    assert b"accept-encoding: identity" in asked[0].lower()


@PROVIDERS
async def test_a_body_without_end_is_read_up_to_a_limit(
    name: str, open_provider: Open, request_: CompletionRequest
) -> None:
    chunk = b" " * MEBIBYTE
    async with answering("200 OK", *([chunk] * 64)) as (url, _):
        error = await refusal(await open_provider(name, url), request_)

    assert error.outcome is CallOutcome.TRANSIENT
    assert f"larger than {ANSWER_MAX_BYTES // MEBIBYTE} MiB" in str(error)


async def test_a_large_answer_below_the_limit_is_read(
    open_provider: Open, request_: CompletionRequest
) -> None:
    """Padded outside of the JSON, so that nothing but the size is unusual."""
    reply = json.dumps({"choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}]})
    body = reply.encode() + b" " * (ANSWER_MAX_BYTES - 1024)
    async with answering(f"200 OK\r\ncontent-length: {len(body)}", body) as (url, _):
        completion = await (await open_provider("openai", url)).complete(request_, timeout=30)

    assert completion.text == "{}"
