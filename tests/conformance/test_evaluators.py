"""What every evaluator that asks a judge keeps to: asked over HTTP, through a real SDK."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from whole import read_csv

from evalqueue.evaluators import apps
from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.judging.evaluator import Evaluator
from evalqueue.evaluators.judging.judge import Judge, Parameters
from evalqueue.evaluators.judging.plan import CallCounts, EvaluationPlan, EvaluatorType
from evalqueue.evaluators.judging.registry import BUILT_IN, choices
from evalqueue.evaluators.judging.scores import fits
from evalqueue.evaluators.judging.threads import coverage_of
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.policy import CallPolicy, LlmCaller, Slots
from evalqueue.evaluators.providers.recorder import CallRecord
from evalqueue.evaluators.providers.registry import (
    ModelChoice,
    ProviderRegistry,
    ProviderSettings,
)
from evalqueue.evaluators.runs.calls import NoModel
from evalqueue.evaluators.simulated.conversations import kaira_csv
from evalqueue.testing import Behaviour, SimulatedServer

DEFINED = ("resolution", "helpfulness")
"""Of the catalogue, one of conversations and one of turns: one class makes them all."""


class Records(list[CallRecord]):
    """A recorder that keeps what it is given."""

    is_ready = True

    async def ready(self) -> None: ...

    record = list[CallRecord].append


@pytest.fixture(scope="module")
def threads() -> tuple[Thread, ...]:
    return read_csv(kaira_csv(), "kaira.csv").threads


@asynccontextmanager
async def judging(
    behaviour: Behaviour, *, model: str = "simulated-judge"
) -> AsyncGenerator[tuple[Judge, Records, SimulatedServer]]:
    """A judge who asks a vendor that behaves like this."""
    async with SimulatedServer(behaviour) as server:
        registry = ProviderRegistry(ProviderSettings(evalqueue_simulated_url=server.url))
        provider = await registry.provider(ModelChoice(provider="simulated", model=model))
        records = Records()
        policy = CallPolicy(max_attempts=2, backoff_base_seconds=0.001)
        caller = LlmCaller(provider, slots=Slots(16), recorder=records, policy=policy)
        yield Judge(caller), records, server
        await registry.aclose()


def made(name: str, app_id: str = "kaira-bot", temperature: float = 0.1) -> Evaluator:
    app = apps.load(app_id)
    plan = EvaluationPlan(app=app, parameters=Parameters(temperature=temperature))
    return next(kind for _, kind in choices(app) if kind.name == name).make(plan)


def asks_a_judge(kind: EvaluatorType) -> bool:
    return kind.calls(EvaluationPlan(app=apps.load("kaira-bot"))) != CallCounts()


@pytest.fixture(params=[*sorted(kind.name for kind in BUILT_IN if asks_a_judge(kind)), *DEFINED])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("kind", BUILT_IN, ids=lambda kind: kind.name)
def test_one_that_plans_calls_declares_that_it_makes_some(kind: EvaluatorType):
    assert kind.calls_llm is asks_a_judge(kind)


async def test_one_that_asks_without_declaring_so_is_a_failure_that_says_it(
    name: str, threads: tuple[Thread, ...]
):
    caller = LlmCaller(NoModel(), slots=Slots(16), recorder=Records())

    found = [await made(name).evaluate(thread, Judge(caller)) for thread in threads[:8]]

    failures = [failure for each in found for failure in each.failures]
    assert {each.reason for each in failures} == {CallOutcome.BAD_REQUEST}
    assert all("calls_llm=False" in each.message for each in failures)


@pytest.mark.parametrize("kind", [kind for kind in BUILT_IN if not kind.calls_llm])
async def test_one_that_asks_no_judge_costs_nothing_and_depends_on_no_model(
    kind: EvaluatorType, threads: tuple[Thread, ...]
):
    async with judging(Behaviour(latency_ms=0, rate_refusal=1.0)) as (judge, records, server):
        found = [await made(kind.name).evaluate(thread, judge) for thread in threads]

    assert not records
    assert server.simulation.stats["requests"] == 0
    assert all(each.evaluator == kind.name and not each.failures for each in found)
    assert made(kind.name, temperature=0.7).version == made(kind.name).version


async def test_it_measures_every_conversation_when_the_judge_answers(
    name: str, threads: tuple[Thread, ...]
):
    async with judging(Behaviour(latency_ms=0)) as (judge, records, _):
        found = [await made(name).evaluate(thread, judge) for thread in threads]

    assert all(each.evaluator == name for each in found)
    assert not any(each.failures for each in found)
    assert all(each.headline is not None for each in found if coverage_of(each).attempted)
    for evaluation in found:
        for score in evaluation.scores:
            declared = evaluation.declaration.score(score.name)
            assert declared is not None
            assert fits(score.value, declared)
            assert (score.turn is not None) == declared.per_turn
    assert all(record.site.evaluator == name for record in records)
    assert {record.site.thread_id for record in records} <= {each.thread_id for each in threads}


async def test_a_judge_that_refuses_is_a_failure_with_a_reason_and_never_a_value(
    name: str, threads: tuple[Thread, ...]
):
    async with judging(Behaviour(latency_ms=0, rate_refusal=1.0)) as (judge, _, _):
        found = [await made(name).evaluate(thread, judge) for thread in threads[:6]]

    asked = [each for each in found if coverage_of(each).attempted]
    assert asked
    for evaluation in asked:
        assert evaluation.headline is None
        assert evaluation.task_completed is None
        assert {failure.reason for failure in evaluation.failures} == {CallOutcome.JUDGE_REFUSED}
        assert all(failure.evaluator == name and failure.message for failure in evaluation.failures)


async def test_what_no_other_call_could_escape_stops_it(name: str, threads: tuple[Thread, ...]):
    async with judging(Behaviour(latency_ms=0), model="no-such-model") as (judge, _, _):
        with pytest.raises(ProviderError) as stopped:
            for thread in threads:
                await made(name).evaluate(thread, judge)

    assert stopped.value.outcome is CallOutcome.MODEL_MISSING


async def test_cancelling_it_aborts_what_it_asked(name: str, threads: tuple[Thread, ...]):
    thread = next(each for each in threads if _has_something_for_everyone(each))
    async with judging(Behaviour(latency_ms=60_000)) as (judge, _, server):
        evaluating = asyncio.create_task(made(name).evaluate(thread, judge))
        async with asyncio.timeout(20):
            await server.simulation.until(lambda stats: stats["in_flight"] > 0)
            evaluating.cancel()
            await server.simulation.until(lambda stats: stats["in_flight"] == 0)
    with pytest.raises(asyncio.CancelledError):
        await evaluating


def test_its_version_says_whether_a_verdict_could_differ(name: str):
    version = made(name).version

    assert made(name).version == version
    assert made(name, temperature=0.7).version != version
    assert made(name, app_id="retail-support").version != version


def _has_something_for_everyone(thread: Thread) -> bool:
    summary = apps.load("kaira-bot").meal_summary
    return summary is not None and any(summary.is_in(turn.bot_text) for turn in thread.turns)
