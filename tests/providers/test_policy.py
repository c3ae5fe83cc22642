"""Retries, waiting, slots, the breaker and the records, with time under the test's control."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from uuid import RFC_4122

import pytest

from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.policy import CallPolicy, LlmCaller, Slots
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest, Provider, Usage
from evalqueue.evaluators.providers.recorder import (
    RESPONSE_LIMIT,
    CallRecord,
    CallSite,
    new_call_id,
)
from evalqueue.evaluators.simulated.vendor.server import Behaviour, SimulatedServer

SITE = CallSite(evaluator="intent", thread_id="t-1", turn=1)
ANSWER = Completion(text="{}", model="as-named", usage=Usage(input_tokens=3), latency_ms=1.0)
RATE_LIMITED = ProviderError(CallOutcome.RATE_LIMITED, "slow down")
TRANSIENT = ProviderError(CallOutcome.TRANSIENT, "broken")
SLOW = ProviderError(CallOutcome.TIMEOUT, "slow")


class Scripted:
    """A provider that does what its script says, once per attempt; the last line repeats."""

    def __init__(self, *script: Completion | ProviderError) -> None:
        self.script = list(script)
        self.attempts = 0
        self.timeouts: list[float] = []

    name = "scripted"
    model = "asked-for"

    async def complete(self, request: CompletionRequest, *, timeout: float) -> Completion:
        step = self.script[min(self.attempts, len(self.script) - 1)]
        self.attempts += 1
        self.timeouts.append(timeout)
        if isinstance(step, ProviderError):
            raise step
        return step

    async def aclose(self) -> None:
        """Hold nothing."""


class Held:
    """A provider whose attempts end when they are let go."""

    name = "held"
    model = "held"

    def __init__(self) -> None:
        self.started = asyncio.Semaphore(0)
        self.go = asyncio.Event()
        self.error: ProviderError | None = None

    async def complete(self, request: CompletionRequest, *, timeout: float) -> Completion:
        self.started.release()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return ANSWER

    async def aclose(self) -> None:
        """Hold nothing."""


@dataclass
class Clock:
    """A clock that only moves by what is slept."""

    seconds: float = 0.0
    naps: list[float] = field(default_factory=list[float])

    def __call__(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.seconds += seconds


class Records(list[CallRecord]):
    is_ready = True

    async def ready(self) -> None: ...

    def record(self, call: CallRecord) -> None:
        self.append(call)

    @property
    def outcomes(self) -> list[CallOutcome]:
        return [call.outcome for call in self]


def caller(
    provider: Provider,
    *,
    clock: Clock | None = None,
    records: Records | None = None,
    policy: CallPolicy | None = None,
    slots: Slots | None = None,
) -> LlmCaller:
    """A caller whose jitter is always the ceiling of the back-off."""
    clock = clock or Clock()
    return LlmCaller(
        provider,
        slots=slots or Slots(4),
        recorder=Records() if records is None else records,
        policy=policy,
        sleep=clock.sleep,
        clock=clock,
        uniform=lambda _low, high: high,
    )


async def test_what_passes_by_itself_is_tried_again(request_: CompletionRequest) -> None:
    provider, records, clock = Scripted(TRANSIENT, RATE_LIMITED, ANSWER), Records(), Clock()

    completion = await caller(provider, clock=clock, records=records).call(request_, SITE)

    assert completion is ANSWER
    assert records.outcomes == [CallOutcome.TRANSIENT, CallOutcome.RATE_LIMITED, CallOutcome.OK]
    assert [call.try_number for call in records] == [1, 2, 3]
    assert clock.naps == [1.0, 1.0]  # a refusal backs off by itself
    assert provider.timeouts == [60.0, 60.0, 60.0]


@pytest.mark.parametrize(
    "outcome", [one for one in CallOutcome if not one.retryable and one != "ok"]
)
async def test_what_would_come_again_is_not_tried_again(
    outcome: CallOutcome, request_: CompletionRequest
) -> None:
    provider = Scripted(ProviderError(outcome, "no"))

    with pytest.raises(ProviderError) as failure:
        await caller(provider).call(request_, SITE)

    assert failure.value.outcome is outcome
    assert provider.attempts == 1


async def test_attempts_are_bounded(request_: CompletionRequest) -> None:
    provider = Scripted(TRANSIENT, SLOW, TRANSIENT, SLOW)
    policy = CallPolicy(max_attempts=3)

    with pytest.raises(ProviderError, match="broken"):
        await caller(provider, policy=policy).call(request_, SITE)

    assert provider.attempts == 3


async def test_a_rate_limit_is_no_try(request_: CompletionRequest) -> None:
    provider, records = Scripted(*[RATE_LIMITED] * 50, TRANSIENT, RATE_LIMITED, ANSWER), Records()
    policy = CallPolicy(max_attempts=2, same_outcome_streak=2, max_age_seconds=10)

    assert await caller(provider, policy=policy, records=records).call(request_, SITE) is ANSWER

    assert records.outcomes.count(CallOutcome.RATE_LIMITED) == 51


class Unready(Records):
    """No call may start, until one waits for it."""

    async def ready(self) -> None:
        self.is_ready = True


async def test_a_call_that_may_no_longer_start_after_its_wait_waits_on(
    request_: CompletionRequest,
) -> None:
    """A worker that was frozen meanwhile may have lost its job."""
    records = Unready()

    class Freezing(Clock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            records.is_ready = len(self.naps) > 1

    provider, clock = Scripted(RATE_LIMITED, ANSWER), Freezing()
    completion = await caller(provider, clock=clock, records=records).call(request_, SITE)

    assert completion is ANSWER
    assert provider.attempts == 2
    assert len(clock.naps) == 2, "its turn was given back, and it waited for another one"


async def test_a_streak_of_the_same_outcome_ends_a_call(request_: CompletionRequest) -> None:
    provider = Scripted(RATE_LIMITED, TRANSIENT)
    policy = CallPolicy(max_attempts=100, same_outcome_streak=4)

    with pytest.raises(ProviderError, match="broken"):
        await caller(provider, policy=policy).call(request_, SITE)

    assert provider.attempts == 1 + 4


async def test_no_attempt_starts_after_the_maximal_age(request_: CompletionRequest) -> None:
    provider, clock = Scripted(TRANSIENT), Clock()
    policy = CallPolicy(max_attempts=100, same_outcome_streak=100, max_age_seconds=10)

    with pytest.raises(ProviderError, match="broken"):
        await caller(provider, policy=policy, clock=clock).call(request_, SITE)

    assert clock.naps == [1.0, 2.0, 4.0]  # 8 s more would be past 10 s


async def test_backing_off_has_a_ceiling(request_: CompletionRequest) -> None:
    provider, clock = Scripted(TRANSIENT), Clock()
    policy = CallPolicy(
        max_attempts=6, same_outcome_streak=9, backoff_base_seconds=2, backoff_cap_seconds=10
    )

    with pytest.raises(ProviderError):
        await caller(provider, policy=policy, clock=clock).call(request_, SITE)

    assert clock.naps == [2, 4, 8, 10, 10]


async def test_the_vendors_wish_is_the_least_that_is_waited(request_: CompletionRequest) -> None:
    provider, clock = (
        Scripted(ProviderError(CallOutcome.TRANSIENT, "", retry_after=30.0)),
        Clock(),
    )
    policy = CallPolicy(max_attempts=3)

    with pytest.raises(ProviderError):
        await caller(provider, policy=policy, clock=clock).call(request_, SITE)

    assert clock.naps == [30.0 + 1.0, 30.0 + 2.0]


async def test_a_slot_is_free_while_its_call_waits(request_: CompletionRequest) -> None:
    slots, in_use_while_waiting = Slots(1), list[int]()

    async def sleep(_seconds: float) -> None:
        in_use_while_waiting.append(slots.in_use)
        assert await other.call(request_, SITE) is ANSWER  # with one slot: only if it is free

    waiting = LlmCaller(Scripted(TRANSIENT, ANSWER), slots=slots, recorder=Records(), sleep=sleep)
    other = caller(Scripted(ANSWER), slots=slots)

    async with asyncio.timeout(10):
        await waiting.call(request_, SITE)

    assert in_use_while_waiting == [0]
    assert slots.in_use == 0


async def test_slots_bound_the_attempts_of_a_whole_job(
    serve: Callable[[Behaviour], Awaitable[SimulatedServer]],
    open_provider: Callable[..., Awaitable[Provider]],
    request_: CompletionRequest,
) -> None:
    server = await serve(Behaviour(gold={}, latency_ms=20, rate_429=0.3, rate_500=0.2))
    provider, slots, records = await open_provider("openai", server.url), Slots(3), Records()
    policy = CallPolicy(max_attempts=20, same_outcome_streak=20)

    async with asyncio.TaskGroup() as group:
        for number in range(30):
            one = caller(provider, slots=slots, records=records, policy=policy)
            asked = replace(request_, prompt=f"{request_.prompt}{number}")
            group.create_task(one.call(asked, SITE))

    stats = server.simulation.stats
    assert stats["max_in_flight"] <= 3
    assert stats["by_status"]["200"] == 30 == records.outcomes.count(CallOutcome.OK)
    assert stats["requests"] == len(records) > 30
    assert stats["duplicates"] == 0, "an answered call was bought again"


async def test_at_least_one_slot_is_needed() -> None:
    with pytest.raises(ValueError, match="at least one attempt"):
        Slots(0)


@pytest.mark.parametrize("outcome", [one for one in CallOutcome if one.stops_the_job])
async def test_an_error_that_no_call_can_escape_trips_the_breaker(
    outcome: CallOutcome, request_: CompletionRequest
) -> None:
    provider, records = Scripted(ProviderError(outcome, "bad key"), ANSWER), Records()
    one = caller(provider, records=records)

    for _ in range(3):
        with pytest.raises(ProviderError, match="bad key"):
            await one.call(request_, SITE)

    assert one.tripped is not None
    assert one.tripped.outcome is outcome
    assert provider.attempts == len(records) == 1


async def test_the_breaker_stops_calls_that_queue_for_a_slot(request_: CompletionRequest) -> None:
    provider, records = Held(), Records()
    one = caller(provider, records=records, slots=Slots(1))
    calls = [asyncio.create_task(one.call(request_, SITE)) for _ in range(5)]
    await provider.started.acquire()

    provider.error = ProviderError(CallOutcome.AUTH, "bad key")
    provider.go.set()
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(result, ProviderError) for result in results)
    assert records.outcomes == [CallOutcome.AUTH]


async def test_a_call_that_fails_by_itself_does_not_trip_the_breaker(
    request_: CompletionRequest,
) -> None:
    one = caller(Scripted(ProviderError(CallOutcome.CONTENT_FILTER, "blocked"), ANSWER))

    with pytest.raises(ProviderError):
        await one.call(request_, SITE)

    assert one.tripped is None
    assert await one.call(request_, SITE) is ANSWER


async def test_an_attempt_that_is_cancelled_is_recorded_and_cancelled(
    request_: CompletionRequest,
) -> None:
    provider, records, slots = Held(), Records(), Slots(1)
    call = asyncio.create_task(caller(provider, records=records, slots=slots).call(request_, SITE))
    await provider.started.acquire()

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert records.outcomes == [CallOutcome.CANCELLED]
    assert slots.in_use == 0


async def test_a_call_cancelled_while_waiting_makes_no_attempt(
    request_: CompletionRequest,
) -> None:
    records, waiting = Records(), asyncio.Event()

    async def sleep(_seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    one = LlmCaller(Scripted(TRANSIENT), slots=Slots(1), recorder=records, sleep=sleep)
    call = asyncio.create_task(one.call(request_, SITE))
    await waiting.wait()

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert records.outcomes == [CallOutcome.TRANSIENT]


async def test_a_record_tells_what_was_asked_answered_and_paid(
    request_: CompletionRequest,
) -> None:
    records = Records()

    await caller(Scripted(ANSWER), records=records).call(request_, SITE, method="repair")

    (call,) = records
    assert (call.site, call.method, call.provider) == (SITE, "repair", "scripted")
    assert call.model == "as-named"
    assert (call.prompt, call.system_prompt) == (request_.prompt, request_.system)
    assert (call.response, call.error) == ("{}", None)
    assert call.usage == Usage(input_tokens=3)
    assert call.started_at.tzinfo is not None
    assert call.duration_ms >= 0


async def test_a_failed_attempt_is_recorded_with_what_it_cost(
    request_: CompletionRequest,
) -> None:
    records = Records()
    cut = ProviderError(
        CallOutcome.TRUNCATED, "cut", answer="{", usage=Usage(output_tokens=9), request_id="r-1"
    )

    with pytest.raises(ProviderError):
        await caller(Scripted(cut), records=records).call(request_, SITE)

    (call,) = records
    assert (call.response, call.error, call.model) == ("{", "cut", "asked-for")
    assert call.usage == Usage(output_tokens=9)
    assert call.request_id == "r-1"


async def test_recorded_texts_are_bounded(request_: CompletionRequest) -> None:
    records = Records()
    long = replace(request_, prompt="p" * 60_000, system="s" * 60_000)

    await caller(Scripted(replace(ANSWER, text="a" * 60_000)), records=records).call(long, SITE)

    (call,) = records
    assert (len(call.prompt), len(call.system_prompt)) == (50_000, 20_000)
    assert len(call.response or "") == RESPONSE_LIMIT


class Reasoner:
    """A model that reasons for so many tokens before it answers."""

    name = "reasoner"
    model = "reasoner"

    def __init__(self, needed: int) -> None:
        self.needed = needed
        self.limits: list[int] = []

    async def complete(self, request: CompletionRequest, *, timeout: float) -> Completion:
        limit = request.max_output_tokens
        self.limits.append(limit)
        if limit >= self.needed:
            return ANSWER
        raise ProviderError(
            CallOutcome.TRUNCATED,
            "cut off",
            usage=Usage(output_tokens=limit, reasoning_tokens=limit),
        )

    async def aclose(self) -> None:
        """Hold nothing."""


async def answered(calling: LlmCaller, request: CompletionRequest, thread: str = "t") -> bool:
    """Ask as a judge does: once more with four times the tokens."""
    site = replace(SITE, thread_id=thread)
    for limit in (request.max_output_tokens, request.max_output_tokens * 4):
        try:
            await calling.call(replace(request, max_output_tokens=limit), site)
        except ProviderError as error:
            if error.stops_the_job or error.outcome is not CallOutcome.TRUNCATED:
                raise
        else:
            return True
    return False


async def test_reasoning_that_takes_all_tokens_is_paid_for_once(
    request_: CompletionRequest,
) -> None:
    reasoner, records = Reasoner(needed=10_000), Records()
    calling = caller(reasoner, records=records)

    assert [await answered(calling, request_) for _ in range(3)] == [True] * 3

    assert reasoner.limits == [4_096, 16_384, 16_384, 16_384]
    plain = caller(Scripted(ANSWER), records=(expected := Records()))
    await plain.call(request_, replace(SITE, thread_id="t"))
    assert records[2].question_hash is not None
    assert len({records[2].question_hash, records[3].question_hash}) == 1, (
        "the question is the same"
    )
    assert expected[0].question_hash != records[1].question_hash


async def test_a_model_that_never_stops_reasoning_stops_the_job(
    request_: CompletionRequest,
) -> None:
    reasoner = Reasoner(needed=10**9)
    calling = caller(reasoner)

    assert [await answered(calling, request_, f"t-{n}") for n in range(2)] == [False] * 2
    with pytest.raises(ProviderError, match="cut off") as stopped:
        await answered(calling, request_, "t-2")

    assert stopped.value.stops_the_job
    assert reasoner.limits == [4_096, 16_384] * 3


async def test_one_long_question_stops_nothing(request_: CompletionRequest) -> None:
    reasoner = Reasoner(needed=10)
    calling = caller(reasoner)
    assert await answered(calling, request_, "short")
    reasoner.needed = 10**9

    assert [await answered(calling, request_, f"t-{n}") for n in range(5)] == [False] * 5


class Speechless:
    """A model that answers some questions, and then gives nothing but empty answers."""

    name = "speechless"
    model = "speechless"

    def __init__(self, *, answers: int = 0) -> None:
        self.answers = answers
        self.attempts = 0

    async def complete(self, request: CompletionRequest, *, timeout: float) -> Completion:
        self.attempts += 1
        if self.attempts <= self.answers:
            return ANSWER
        raise ProviderError(CallOutcome.TRANSIENT, "the answer is empty", is_billed=True)

    async def aclose(self) -> None:
        """Hold nothing."""


async def stops(calling: LlmCaller, request: CompletionRequest, thread: str) -> bool:
    """Whether a question of this thread that gets nothing but empty answers stops the job."""
    with pytest.raises(ProviderError, match="the answer is empty") as failed:
        await calling.call(request, replace(SITE, thread_id=thread))
    return failed.value.stops_the_job


async def test_a_model_that_gives_only_empty_answers_stops_the_job(
    request_: CompletionRequest,
) -> None:
    model = Speechless()
    calling = caller(model)

    stopped = [await stops(calling, request_, f"t-{n}") for n in range(5)]

    assert stopped == [False, False, True, True, True]
    policy = CallPolicy()
    assert model.attempts == 2 * policy.same_outcome_streak + policy.empty_streak


async def test_one_conversation_that_gets_only_empty_answers_stops_nothing(
    request_: CompletionRequest,
) -> None:
    calling = caller(Speechless())
    assert not any([await stops(calling, request_, "t-1") for _ in range(5)])

    calling = caller(Speechless(answers=1))
    await calling.call(request_, SITE)
    assert not any([await stops(calling, request_, f"t-{n}") for n in range(5)])


def stops_unread(calling: LlmCaller, request: CompletionRequest, thread: str, said: str) -> str:
    """The reason to stop the job after an answer that can't be read. Empty: there is none."""
    try:
        calling.note_unread(request, replace(SITE, thread_id=thread), said, "no object.")
    except ProviderError as stopping:
        return stopping.message
    return ""


async def test_a_model_whose_answers_can_never_be_read_stops_the_job(
    request_: CompletionRequest,
) -> None:
    calling = caller(Scripted(ANSWER))
    reasons = [
        stops_unread(calling, request_, f"t-{n // 2}", "Ask anna@example.org")
        for n in range(CallPolicy().unreadable_answers)
    ]

    assert not any(reasons[:-1])
    assert (
        "6 answers, about 3 conversations. The last one: 'Ask [email]' (no object.)"
        in (reasons[-1])
    )
    with pytest.raises(ProviderError, match="has given no answer") as refused:
        await calling.call(request_, SITE)
    assert refused.value.stops_the_job


async def test_answers_about_two_conversations_that_cannot_be_read_stop_nothing(
    request_: CompletionRequest,
) -> None:
    calling = caller(Scripted(ANSWER))

    assert not any(stops_unread(calling, request_, f"t-{n % 2}", "no") for n in range(20))


async def test_a_model_that_was_read_once_is_not_stopped(request_: CompletionRequest) -> None:
    calling = caller(Scripted(ANSWER))
    calling.note_read(request_)

    assert not any(stops_unread(calling, request_, f"t-{n}", "no") for n in range(20))


def test_call_ids_differ_and_begin_with_the_time():
    first = [new_call_id() for _ in range(1000)]
    while new_call_id().bytes[:6] <= max(first).bytes[:6]:
        pass  # a millisecond
    assert max(first) < new_call_id()
    assert len(set(first)) == 1000
    assert {(each.version, each.variant) for each in first} == {(7, RFC_4122)}
