"""Batches through the real SDKs, of every vendor that has them."""

import asyncio
import io
from dataclasses import replace
from typing import Any

import pytest

from evalqueue.evaluators.providers.batching import (
    BatchesMissing,
    BatchResult,
    QuestionNotRun,
    SupportsBatches,
    VendorBatch,
    VendorBatches,
)
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest
from evalqueue.evaluators.simulated.vendor.server import Behaviour

VENDORS = ["openai", "azure_openai", "gemini"]
NAME = "0b6f5c1e-made-up"


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    return request.param


async def batches_of(open_provider: Any, vendor: str, url: str, **options: str) -> VendorBatches:
    provider = await open_provider(vendor, url, **options)
    assert isinstance(provider, SupportsBatches)
    return provider.batches


def questions(request: CompletionRequest, count: int) -> list[CompletionRequest]:
    return [
        replace(request, prompt=request.prompt.replace('"t-1"', f'"t-{number}"'))
        for number in range(count)
    ]


async def handed_in(
    batches: VendorBatches, asked: list[CompletionRequest], name: str = NAME
) -> VendorBatch:
    file = io.BytesIO(b"".join(batches.line(f"{n:064x}", each) for n, each in enumerate(asked)))
    return await batches.create(name, file)


async def over(batches: VendorBatches, batch: VendorBatch) -> VendorBatch:
    async with asyncio.timeout(20):
        while True:
            shown = await batches.look(batch.id)
            assert shown is not None
            if shown.is_over:
                return shown
            await asyncio.sleep(0.05)


async def results_of(batches: VendorBatches, batch: VendorBatch) -> dict[str, BatchResult]:
    async with batches.results(batch) as results:
        return {each.key: each async for each in results}


async def test_a_batch_answers_as_live_calls_do(
    serve: Any, open_provider: Any, request_: CompletionRequest, vendor: str
):
    server = await serve(Behaviour(gold={}, batch_delay_seconds=0.4))
    provider = await open_provider(vendor, server.url)
    asked = questions(request_, 5)
    live = [await provider.complete(each, timeout=20) for each in asked[:2]]
    created = await handed_in(provider.batches, asked[2:])
    assert not created.is_over

    shown = await over(provider.batches, created)
    results = await results_of(provider.batches, shown)

    assert (shown.done, shown.end) == (0 if vendor == "gemini" else 3, "completed")
    assert sorted(results) == [f"{n:064x}" for n in range(3)]
    answers = [each.result for each in results.values()]
    assert all(isinstance(each, Completion) for each in answers)
    assert {each.model for each in live} == {
        each.model for each in answers if isinstance(each, Completion)
    }
    assert all(each.usage.input_tokens and each.usage.output_tokens for each in answers)
    again = await provider.complete(asked[2], timeout=20)
    first = results[f"{0:064x}"].result
    assert isinstance(first, Completion)
    assert (again.text, again.usage) == (first.text, first.usage)


async def test_a_batch_is_found_by_its_name(
    serve: Any, open_provider: Any, request_: CompletionRequest, vendor: str
):
    server = await serve(Behaviour(gold={}))
    batches = await batches_of(open_provider, vendor, server.url)
    others = [await handed_in(batches, [request_], f"other-{n}") for n in range(120)]
    mine = [await handed_in(batches, [request_]) for _ in range(2)]

    assert [each.id for each in await batches.find(NAME)] == [each.id for each in mine]
    assert [each.id for each in await batches.find("other-0")] == [others[0].id]
    assert await batches.find("no-such") == []


async def test_failed_questions_and_those_of_an_expired_batch_say_why(
    serve: Any, open_provider: Any, request_: CompletionRequest, vendor: str
):
    server = await serve(Behaviour(gold={}, batch_failed_rate=0.5, batches_expiring=1))
    batches = await batches_of(open_provider, vendor, server.url)
    shown = await over(batches, await handed_in(batches, questions(request_, 40)))
    results = [each.result for each in (await results_of(batches, shown)).values()]

    assert shown.end == "expired"
    not_run = [each for each in results if isinstance(each, QuestionNotRun)]
    failed = [
        each
        for each in results
        if isinstance(each, ProviderError) and not isinstance(each, QuestionNotRun)
    ]
    # Gemini says nothing about those that had no turn.
    assert len(not_run) == (0 if vendor == "gemini" else 20)
    assert all("batch_expired" in each.message for each in not_run)
    assert 3 <= len(failed) <= 17
    assert {each.outcome for each in (*not_run, *failed)} == {CallOutcome.TRANSIENT}


async def test_a_cancelled_batch_keeps_its_first_answers(
    serve: Any, open_provider: Any, request_: CompletionRequest, vendor: str
):
    server = await serve(Behaviour(gold={}, batch_delay_seconds=2.0))
    batches = await batches_of(open_provider, vendor, server.url)
    created = await handed_in(batches, questions(request_, 20))
    async with asyncio.timeout(20):
        while server.simulation.stats["batched"] <= 2:
            await asyncio.sleep(0.05)
    await batches.cancel(created.id)
    shown = await over(batches, created)
    results = (await results_of(batches, shown)).values()
    await batches.cancel(created.id)  # it is over: nothing happens

    assert shown.end == "cancelled"
    assert len(results) == (20 if vendor != "gemini" else len(results))
    assert 2 < sum(isinstance(each.result, Completion) for each in results) < 20


async def test_what_the_vendor_does_not_know_or_have_is_said(
    serve: Any, open_provider: Any, request_: CompletionRequest, vendor: str
):
    server = await serve(Behaviour(gold={}))
    batches = await batches_of(open_provider, vendor, server.url)
    batch = await handed_in(batches, [request_, request_])
    assert (await batches.look(batch.id)) is not None
    other_key = await batches_of(open_provider, vendor, server.url, key="another")
    assert await other_key.look(batch.id) is None

    without = await serve(Behaviour(gold={}, without_batches=True))
    batches = await batches_of(open_provider, vendor, without.url)
    with pytest.raises(BatchesMissing, match="this endpoint has no batches"):
        await handed_in(batches, [request_])


async def test_a_batch_with_a_repeated_key_is_refused_as_a_whole(
    serve: Any, open_provider: Any, request_: CompletionRequest, vendor: str
):
    server = await serve(Behaviour(gold={}))
    batches = await batches_of(open_provider, vendor, server.url)
    line = batches.line("ab" * 32, request_)
    shown = await over(batches, await batches.create(NAME, io.BytesIO(line + line)))

    assert shown.end.startswith("failed")
    assert await results_of(batches, shown) == {}


async def test_texts_are_deleted_when_they_are_not_needed(
    serve: Any, open_provider: Any, request_: CompletionRequest, vendor: str
):
    server = await serve(Behaviour(gold={}))
    batches = await batches_of(open_provider, vendor, server.url)
    shown = await over(batches, await handed_in(batches, [request_]))
    await batches.forget(shown)
    await batches.forget(shown)  # a second time does no harm

    with pytest.raises(ProviderError):
        await results_of(batches, shown)


async def test_a_dead_endpoint_is_a_fault_that_passes(
    open_provider: Any, request_: CompletionRequest, vendor: str
):
    batches = await batches_of(open_provider, vendor, "http://127.0.0.1:9")
    for attempt in (batches.look("batch_1"), batches.find(NAME), handed_in(batches, [request_])):
        with pytest.raises(ProviderError) as raised:
            await attempt
        assert raised.value.outcome is CallOutcome.TRANSIENT


async def test_azure_asks_its_batch_deployment(serve: Any, request_: CompletionRequest):
    from evalqueue.evaluators.providers.openai import OpenAIProvider

    provider = OpenAIProvider.open_azure(
        deployment="live", api_key="k", endpoint="http://127.0.0.1:9", api_version="1",
        name="azure_openai", batch_deployment="later",
    )  # fmt: skip
    line = provider.batches.line("ab" * 32, request_)
    await provider.aclose()

    assert b'"model":"later"' in line
    assert b'"url":"/chat/completions"' in line
