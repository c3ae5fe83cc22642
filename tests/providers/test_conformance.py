"""What every provider must do, shown through the real SDKs, over HTTP."""

import asyncio
import json
import re
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import CompletionRequest, Provider
from evalqueue.evaluators.simulated.vendor.behaviour import Behaviour
from evalqueue.evaluators.simulated.vendor.server import SimulatedServer
from evalqueue.evaluators.simulated.vendor.simulation import BAD_KEY, MISSING_MODEL

Open = Callable[..., Awaitable[Provider]]
Serve = Callable[[Behaviour], Awaitable[SimulatedServer]]

PROVIDERS = ["openai", "azure_openai", "gemini", "simulated"]
PATIENT_SECONDS = 30.0

pytestmark = pytest.mark.parametrize("name", PROVIDERS)


async def test_an_answer_comes_with_its_model_usage_and_latency(
    name: str, server: SimulatedServer, open_provider: Open, request_: CompletionRequest
) -> None:
    provider = await open_provider(name, server.url)

    completion = await provider.complete(request_, timeout=PATIENT_SECONDS)

    assert provider.name == name
    assert provider.model == "a-model"
    assert completion.model == "simulated-judge"
    assert completion.usage.input_tokens == (len(request_.system) + len(request_.prompt)) // 4
    assert completion.usage.output_tokens == len(completion.text) // 4
    assert completion.latency_ms > 0
    assert completion.request_id is not None
    assert completion.request_id.startswith("simulated-")


async def test_the_answer_follows_the_schema_in_its_order(
    name: str, server: SimulatedServer, open_provider: Open, request_: CompletionRequest
) -> None:
    provider = await open_provider(name, server.url)

    completion = await provider.complete(request_, timeout=PATIENT_SECONDS)

    answer = json.loads(completion.text)
    assert list(answer) == list(request_.schema["properties"])
    assert answer["predicted_agent"] == "Greeting"
    assert answer["reasoning"].startswith("simulated")


async def test_the_latency_is_that_of_the_attempt(
    name: str, serve: Serve, open_provider: Open, request_: CompletionRequest
) -> None:
    server = await serve(Behaviour(gold={}, latency_ms=80))
    provider = await open_provider(name, server.url)

    completion = await provider.complete(request_, timeout=PATIENT_SECONDS)

    assert completion.latency_ms >= 80


async def test_a_rate_limit_says_how_long_to_wait(
    name: str, serve: Serve, open_provider: Open, request_: CompletionRequest
) -> None:
    server = await serve(Behaviour(gold={}, rate_429=1.0, retry_after_seconds=7.0))
    provider = await open_provider(name, server.url)

    with pytest.raises(ProviderError) as failure:
        await provider.complete(request_, timeout=PATIENT_SECONDS)

    assert failure.value.outcome is CallOutcome.RATE_LIMITED
    assert failure.value.retry_after == 7.0
    assert server.simulation.stats["requests"] == 1, "the SDK must not retry by itself"


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("server-error", CallOutcome.TRANSIENT),
        ("bad-request", CallOutcome.BAD_REQUEST),
        ("billing", CallOutcome.BILLING),
        ("context-too-long", CallOutcome.CONTEXT_TOO_LONG),
        ("content-filter", CallOutcome.CONTENT_FILTER),
    ],
)
async def test_a_refusal_of_the_vendor_is_classified(
    name: str,
    fault: str,
    outcome: CallOutcome,
    server: SimulatedServer,
    open_provider: Open,
    request_: CompletionRequest,
) -> None:
    provider = await open_provider(name, server.url, model=f"always-{fault}")

    with pytest.raises(ProviderError) as failure:
        await provider.complete(request_, timeout=PATIENT_SECONDS)

    assert failure.value.outcome is outcome
    assert failure.value.message.startswith(f"{name}: ")
    assert server.simulation.stats["requests"] == 1


async def test_a_refusing_judge_is_not_a_failing_verdict(
    name: str, server: SimulatedServer, open_provider: Open, request_: CompletionRequest
) -> None:
    provider = await open_provider(name, server.url, model="always-refusal")

    with pytest.raises(ProviderError) as failure:
        await provider.complete(request_, timeout=PATIENT_SECONDS)

    # Gemini has no field for a refusal: it ends the answer as prohibited.
    refused = CallOutcome.CONTENT_FILTER if name == "gemini" else CallOutcome.JUDGE_REFUSED
    assert failure.value.outcome is refused
    assert failure.value.usage.input_tokens


async def test_a_truncated_answer_is_kept_with_what_it_cost(
    name: str, server: SimulatedServer, open_provider: Open, request_: CompletionRequest
) -> None:
    provider = await open_provider(name, server.url, model="always-truncated")

    with pytest.raises(ProviderError) as failure:
        await provider.complete(request_, timeout=PATIENT_SECONDS)

    assert failure.value.outcome is CallOutcome.TRUNCATED
    assert (failure.value.answer or "").startswith('{"evidence"')
    assert failure.value.usage.output_tokens


async def test_a_malformed_answer_is_returned_as_it_came(
    name: str, server: SimulatedServer, open_provider: Open, request_: CompletionRequest
) -> None:
    """Repairing it is the judge's business."""
    provider = await open_provider(name, server.url, model="always-malformed")

    completion = await provider.complete(request_, timeout=PATIENT_SECONDS)

    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(completion.text)


async def test_a_refused_key_stops_the_job_and_is_never_shown(
    name: str, server: SimulatedServer, open_provider: Open, request_: CompletionRequest
) -> None:
    provider = await open_provider(name, server.url, key=BAD_KEY)

    with pytest.raises(ProviderError) as failure:
        await provider.complete(request_, timeout=PATIENT_SECONDS)

    assert failure.value.outcome is CallOutcome.AUTH
    assert failure.value.outcome.stops_the_job
    assert "***" in failure.value.message
    assert BAD_KEY not in "".join(traceback.format_exception(failure.value))


async def test_a_model_that_does_not_exist_stops_the_job(
    name: str, server: SimulatedServer, open_provider: Open, request_: CompletionRequest
) -> None:
    provider = await open_provider(name, server.url, model=MISSING_MODEL)

    with pytest.raises(ProviderError, match=MISSING_MODEL) as failure:
        await provider.complete(request_, timeout=PATIENT_SECONDS)

    assert failure.value.outcome is CallOutcome.MODEL_MISSING


async def test_an_attempt_without_an_answer_times_out_and_is_aborted(
    name: str, server: SimulatedServer, open_provider: Open, request_: CompletionRequest
) -> None:
    provider = await open_provider(name, server.url, model="always-silent")
    timeout = 0.1
    while not server.simulation.stats["requests"]:  # a slow machine takes that long to ask
        timeout *= 2
        with pytest.raises(ProviderError, match=rf"no answer within {timeout} s") as failure:
            await provider.complete(request_, timeout=timeout)
        assert failure.value.outcome is CallOutcome.TIMEOUT

    await server.simulation.until(lambda stats: stats["aborted"] == 1)


async def test_cancelling_a_call_aborts_the_request_at_the_vendor(
    name: str, server: SimulatedServer, open_provider: Open, request_: CompletionRequest
) -> None:
    provider = await open_provider(name, server.url, model="always-silent")
    call = asyncio.create_task(provider.complete(request_, timeout=PATIENT_SECONDS))
    await server.simulation.until(lambda stats: stats["in_flight"] == 1)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await server.simulation.until(lambda stats: stats["aborted"] == 1 and not stats["in_flight"])


async def test_a_vendor_that_is_not_there_is_transient(
    name: str, open_provider: Open, request_: CompletionRequest
) -> None:
    provider = await open_provider(name, "http://127.0.0.1:1")

    with pytest.raises(ProviderError, match="no connection") as failure:
        await provider.complete(request_, timeout=PATIENT_SECONDS)

    assert failure.value.outcome is CallOutcome.TRANSIENT


@pytest.mark.parametrize(
    ("status", "body"),
    [("200 OK", "<html>"), ("200 OK", '{"choices": []'), ("502 Bad Gateway", "<html>")],
)
@pytest.mark.parametrize("kind", ["text/html", "application/json"])
async def test_a_proxys_page_instead_of_an_answer_is_transient(
    name: str,
    status: str,
    body: str,
    kind: str,
    open_provider: Open,
    request_: CompletionRequest,
) -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        assert length is not None
        await reader.readexactly(int(length[1]))
        about = f"content-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close"
        writer.write(f"HTTP/1.1 {status}\r\n{about}\r\n\r\n{body}".encode())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(page, "127.0.0.1") as proxy:
        port = proxy.sockets[0].getsockname()[1]
        provider = await open_provider(name, f"http://127.0.0.1:{port}")

        with pytest.raises(ProviderError) as failure:
            await provider.complete(request_, timeout=PATIENT_SECONDS)

    assert failure.value.outcome is CallOutcome.TRANSIENT


async def test_half_an_emoji_in_a_prompt_is_the_requests_fault(
    name: str, server: SimulatedServer, open_provider: Open, request_: CompletionRequest
) -> None:
    provider = await open_provider(name, server.url)

    with pytest.raises(ProviderError) as failure:
        await provider.complete(replace(request_, prompt="\ud83d"), timeout=PATIENT_SECONDS)

    assert failure.value.outcome is CallOutcome.BAD_REQUEST


async def test_one_provider_serves_many_calls_at_once(
    name: str, serve: Serve, open_provider: Open, request_: CompletionRequest
) -> None:
    server = await serve(Behaviour(gold={}, latency_ms=100))
    provider = await open_provider(name, server.url)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            asked = replace(request_, prompt=f"{request_.prompt}{number}")
            group.create_task(provider.complete(asked, timeout=PATIENT_SECONDS))

    assert server.simulation.stats["max_in_flight"] > 1
    assert server.simulation.stats["by_status"] == {"200": 20}
    assert server.simulation.stats["duplicates"] == 0
