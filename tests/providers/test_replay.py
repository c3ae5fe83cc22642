"""Answers on record: which calls they answer, and what a call that they answer does not do."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from evalqueue.evaluators.providers.earlier.replay import RecordedAnswer, Replay
from evalqueue.evaluators.providers.earlier.replayed_run import (
    AnsweredQuestion,
    AskedQuestion,
    ReplayedRun,
)
from evalqueue.evaluators.providers.earlier.reuse import EarlierAnswer
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.policy import LlmCaller, Slots
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest
from evalqueue.evaluators.providers.recorder import (
    PROMPT_LIMIT,
    RESPONSE_LIMIT,
    SYSTEM_PROMPT_LIMIT,
    CallRecord,
    CallSite,
    request_hash,
)

SITE = CallSite(evaluator="intent", thread_id="t-1", turn=1)
OLD = Completion(text="old", model="as-named", latency_ms=1.0)
NEW = Completion(text="new", model="as-named", latency_ms=1.0)


class Vendor:
    """A provider that always says the same, and counts how often it is asked."""

    name = "vendor"

    def __init__(self, says: Completion | ProviderError = NEW, model: str = "asked-for") -> None:
        self.model = model
        self.attempts = 0
        self._says = says

    async def complete(self, request: CompletionRequest, *, timeout: float) -> Completion:
        self.attempts += 1
        if isinstance(self._says, ProviderError):
            raise self._says
        return self._says

    async def aclose(self) -> None:
        """Hold nothing."""


class Records(list[CallRecord]):
    is_ready = True

    async def ready(self) -> None: ...

    def record(self, call: CallRecord) -> None:
        self.append(call)


def recorded(request: CompletionRequest, *completions: Completion) -> list[RecordedAnswer]:
    """Answers to a request, as they are on record."""
    key = request_hash(request, SITE, "generate_json", Vendor())
    return [RecordedAnswer(request_hash=key, completion=each) for each in completions]


async def test_a_call_on_record_asks_nobody_takes_no_slot_and_is_not_recorded_again(
    request_: CompletionRequest,
) -> None:
    vendor, records, slots = Vendor(), Records(), Slots(1)
    calls = Replay(LlmCaller(vendor, slots=slots, recorder=records), recorded(request_, OLD))

    async with slots, asyncio.timeout(5):  # there is no other slot
        completion = await calls.call(request_, SITE)

    assert completion is OLD
    assert (vendor.attempts, records) == (0, [])


CHANGES: dict[str, Callable[[CompletionRequest], CompletionRequest]] = {
    "system": lambda asked: replace(asked, system="Another."),
    "prompt": lambda asked: replace(asked, prompt=asked.prompt + "\n"),
    "schema_name": lambda asked: replace(asked, schema_name="another"),
    "schema": lambda asked: replace(asked, schema={"type": "object"}),
    "order": lambda asked: replace(asked, schema=dict(reversed(asked.schema.items()))),
    "temperature": lambda asked: replace(asked, temperature=0.0),
    "no temperature": lambda asked: replace(asked, temperature=None),
    "room": lambda asked: replace(asked, max_output_tokens=2 * asked.max_output_tokens),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_another_question_is_asked(
    request_: CompletionRequest, change: Callable[[CompletionRequest], CompletionRequest]
) -> None:
    vendor = Vendor()
    calls = Replay(LlmCaller(vendor, slots=Slots(1), recorder=Records()), recorded(request_, OLD))

    assert await calls.call(change(request_), SITE) is NEW
    assert vendor.attempts == 1


@pytest.mark.parametrize(
    ("site", "method", "model"),
    [
        (replace(SITE, turn=2), "generate_json", "asked-for"),
        (replace(SITE, thread_id="t-2"), "generate_json", "asked-for"),
        (replace(SITE, evaluator="another"), "generate_json", "asked-for"),
        (replace(SITE, label="a case"), "generate_json", "asked-for"),
        (SITE, "repair", "asked-for"),
        (SITE, "generate_json", "another-model"),
    ],
)
async def test_the_same_question_for_something_else_or_to_somebody_else_is_asked(
    request_: CompletionRequest, site: CallSite, method: str, model: str
) -> None:
    vendor = Vendor(model=model)
    calls = Replay(LlmCaller(vendor, slots=Slots(1), recorder=Records()), recorded(request_, OLD))

    assert await calls.call(request_, site, method) is NEW


async def test_each_record_answers_once_in_the_order_given(request_: CompletionRequest) -> None:
    older = replace(OLD, text="older")
    caller = LlmCaller(Vendor(), slots=Slots(1), recorder=Records())
    calls = Replay(caller, recorded(request_, OLD, older))

    answers = [await calls.call(request_, SITE) for _ in range(3)]

    assert answers == [OLD, older, NEW]


async def test_a_record_of_an_answer_answers_the_same_call(request_: CompletionRequest) -> None:
    vendor, records = Vendor(), Records()
    caller = LlmCaller(vendor, slots=Slots(1), recorder=records)
    # What the vendor calls the model may differ from what it was asked by.
    answer = await caller.call(replace(request_, prompt="half an emoji: \ud83d"), SITE)
    (record,) = records
    assert record.request_hash is not None

    calls = Replay(caller, [RecordedAnswer(request_hash=record.request_hash, completion=answer)])

    assert await calls.call(replace(request_, prompt="half an emoji: \ud83d"), SITE) is answer
    assert vendor.attempts == 1


@pytest.mark.parametrize(
    "says",
    [
        replace(NEW, text="x" * (RESPONSE_LIMIT + 1)),
        ProviderError(CallOutcome.TRUNCATED, "cut off", answer='{"evidence'),
        ProviderError(CallOutcome.JUDGE_REFUSED, "no"),
    ],
    ids=["longer than a record", "truncated", "refused"],
)
async def test_what_is_not_a_whole_answer_can_not_be_replayed(
    request_: CompletionRequest, says: Any
) -> None:
    records = Records()
    caller = LlmCaller(Vendor(says), slots=Slots(1), recorder=records)

    if isinstance(says, ProviderError):
        with pytest.raises(ProviderError):
            await caller.call(request_, SITE)
    else:
        await caller.call(request_, SITE)

    assert [each.request_hash for each in records] == [None]


async def test_the_longest_answer_that_a_record_holds_can_be_replayed(
    request_: CompletionRequest,
) -> None:
    records = Records()
    longest = replace(NEW, text="x" * RESPONSE_LIMIT)

    await LlmCaller(Vendor(longest), slots=Slots(1), recorder=records).call(request_, SITE)

    assert records[0].request_hash is not None
    assert records[0].response == longest.text


def replayed_run(request: CompletionRequest) -> ReplayedRun:
    """A run that was asked this, as its call log has it."""
    question = AskedQuestion(
        evaluator=SITE.evaluator, turn=SITE.turn, method="generate_json",
        prompt=request.prompt[:PROMPT_LIMIT], system=request.system[:SYSTEM_PROMPT_LIMIT],
    )  # fmt: skip
    answered = AnsweredQuestion(
        question=question, answer=EarlierAnswer(call_id=uuid4(), completion=OLD)
    )
    caller = LlmCaller(Vendor(), slots=Slots(1), recorder=Records())
    return ReplayedRun(caller, [answered], replayed=uuid4(), recorder=Records(), run_id=uuid4())


async def test_a_question_that_was_not_stored_whole_is_not_recognised_by_its_beginning(
    request_: CompletionRequest,
) -> None:
    whole = replace(request_, prompt="x" * (PROMPT_LIMIT - 1))
    assert await replayed_run(whole).call(whole, SITE) is OLD

    for changed in (
        replace(request_, prompt="x" * PROMPT_LIMIT + "y"),
        replace(request_, system="x" * SYSTEM_PROMPT_LIMIT + "y"),
    ):
        with pytest.raises(ProviderError) as refused:
            await replayed_run(changed).call(changed, SITE)
        assert refused.value.outcome is CallOutcome.NOT_RECORDED
