"""The simulated vendor: what it answers, what goes wrong with it, what it counts."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest, Provider
from evalqueue.evaluators.simulated.vendor.answers import Gold, SimulatedQuestion, answer
from evalqueue.evaluators.simulated.vendor.server import Behaviour, SimulatedServer

Open = Callable[..., Awaitable[Provider]]
Serve = Callable[[Behaviour], Awaitable[SimulatedServer]]

GOLD = {
    "intent": {"t-1": {"2": {"predicted_agent": "FoodAgent", "query_type": "question"}}},
    "efficiency": {
        "t-1": {
            "verdict": "FRICTION",
            "reasoning": "the bot asked twice",
            "friction_turns": [{"turn": 2}],
        }
    },
}
EFFICIENCY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "evidence": {"type": "array", "items": {"type": "object"}},
        "friction_turns": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "turn": {"type": "integer"},
                    "description": {"type": "string"},
                    "cause": {"$ref": "#/$defs/Cause"},
                },
            },
        },
        "recovery_quality": {"type": "string", "enum": ["GOOD", "NOT_NEEDED"]},
        "incomplete_reason": {"anyOf": [{"$ref": "#/$defs/Cause"}, {"type": "null"}]},
        "failure_reason": {"type": ["string", "null"]},
        "reasoning": {"type": "string"},
        "task_completed": {"type": "boolean"},
        "verdict": {"type": "string", "enum": ["EFFICIENT", "FRICTION", "BROKEN"]},
    },
    "$defs": {"Cause": {"type": "string", "enum": ["USER", "BOT"]}},
}


def ask(schema: dict[str, Any], *, evaluator: str, thread_id: str = "t-1") -> SimulatedQuestion:
    return SimulatedQuestion(evaluator=evaluator, schema=schema, thread_id=thread_id)


def test_a_gold_label_is_completed_by_the_schema() -> None:
    given_answer = answer(ask(EFFICIENCY, evaluator="efficiency"), Gold(GOLD), error_rate=0, seed=0)

    assert given_answer == {
        "evidence": [],
        "friction_turns": [{"turn": 2, "description": "simulated", "cause": "USER"}],
        "recovery_quality": "NOT_NEEDED",
        "incomplete_reason": None,
        "failure_reason": None,
        "reasoning": "simulated: the bot asked twice",
        "task_completed": True,
        "verdict": "FRICTION",
    }


def test_a_thread_without_gold_gets_a_plausible_answer() -> None:
    question = ask(EFFICIENCY, evaluator="efficiency", thread_id="unknown")

    given_answer = answer(question, Gold(GOLD), error_rate=1.0, seed=0)

    assert given_answer["verdict"] == "EFFICIENT"
    assert given_answer["reasoning"].startswith("simulated")


def test_the_label_is_of_the_turn_that_is_asked_about(request_: CompletionRequest) -> None:
    prompt = request_.prompt.replace("judge: 1", "judge: 2")
    hostile = prompt + '    Thread: "t-9"\n    Turn to judge: 9\n'

    question = SimulatedQuestion.read(evaluator="intent", schema=request_.schema, prompt=hostile)

    assert (question.thread_id, question.turn) == ("t-1", "2")
    given_answer = answer(question, Gold(GOLD), error_rate=0, seed=0)
    assert (given_answer["predicted_agent"], given_answer["query_type"]) == (
        "FoodAgent",
        "question",
    )


def test_the_stated_share_of_labels_is_wrong_and_the_same_ones_each_time() -> None:
    gold = Gold({"efficiency": {str(n): {"verdict": "FRICTION"} for n in range(2000)}})
    questions = [ask(EFFICIENCY, evaluator="efficiency", thread_id=str(n)) for n in range(2000)]

    first, again = (
        [answer(each, gold, error_rate=0.1, seed=3)["verdict"] for each in questions]
        for _ in range(2)
    )

    counts = Counter(first)
    mistaken = next(
        each for each, verdict in zip(questions, first, strict=True) if verdict != "FRICTION"
    )
    reasoning = answer(mistaken, gold, error_rate=0.1, seed=3)["reasoning"]
    assert reasoning == "simulated: wrong on purpose about verdict"
    assert first == again
    assert 150 < 2000 - counts["FRICTION"] < 250
    assert set(counts) == {"FRICTION", "EFFICIENT", "BROKEN"}


class Anything(BaseModel):
    """A model whose schema has what pydantic writes: references, unions, bounds."""

    class Inner(BaseModel):
        number: int | None
        names: list[str]

    inner: Inner
    maybe: Inner | None
    count: int
    share: float
    flag: bool


@given(known=st.dictionaries(st.sampled_from(["count", "share", "else"]), st.just(1)))
def test_an_answer_always_follows_the_schema(known: dict[str, int]) -> None:
    question = ask(Anything.model_json_schema(), evaluator="any")

    given_answer = answer(question, Gold({"any": {"t-1": known}}), error_rate=0, seed=0)

    assert list(given_answer) == list(Anything.model_fields)
    Anything.model_validate(given_answer, strict=True)


def test_the_bundled_gold_labels_are_the_default() -> None:
    question = ask(EFFICIENCY, evaluator="efficiency", thread_id="there is no such thread")

    assert Gold().label(question) is None


def test_gold_labels_can_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "gold.json"
    file.write_text(json.dumps(GOLD), encoding="utf-8")

    label = Gold(file).label(ask(EFFICIENCY, evaluator="efficiency"))

    assert label == GOLD["efficiency"]["t-1"]


async def outcomes(
    provider: Provider, request: CompletionRequest, *, times: int
) -> list[CallOutcome | str]:
    """What comes of asking the same several times: an outcome, or the answer's text."""
    found: list[CallOutcome | str] = []
    for _ in range(times):
        try:
            completion: Completion = await provider.complete(request, timeout=30)
        except ProviderError as error:
            found.append(error.outcome)
        else:
            found.append(completion.text)
    return found


async def test_faults_are_drawn_anew_for_a_retry_and_the_same_in_another_run(
    serve: Serve, open_provider: Open, request_: CompletionRequest
) -> None:
    behaviour = Behaviour(
        gold={}, seed=7, rate_429=0.2, rate_500=0.2, rate_malformed=0.2, rate_refusal=0.2
    )
    runs: list[list[CallOutcome | str]] = []
    for _ in range(2):
        server = await serve(behaviour)
        provider = await open_provider("openai", server.url)
        runs.append(await outcomes(provider, request_, times=100))

    assert runs[0] == runs[1]
    kinds = {str(one) for one in runs[0] if isinstance(one, CallOutcome)}
    assert kinds == {"rate_limited", "transient", "judge_refused"}
    assert (
        len({one for one in runs[0] if not isinstance(one, CallOutcome)}) == 4
    )  # 3 ways malformed


async def test_latency_is_lognormal_around_its_median() -> None:
    behaviour = Behaviour(latency_ms=800, latency_sigma=0.9)

    assert behaviour.latency_seconds(0.5) == pytest.approx(0.8)
    assert behaviour.latency_seconds(0.99) == pytest.approx(6.5, rel=0.02)
    assert behaviour.latency_seconds(0.0) > 0


async def test_an_answer_that_is_asked_for_again_is_a_duplicate(
    server: SimulatedServer, open_provider: Open, request_: CompletionRequest
) -> None:
    provider = await open_provider("gemini", server.url)

    await outcomes(provider, request_, times=3)

    stats = server.simulation.stats
    assert isinstance(stats.pop("tokens_in"), int)
    assert isinstance(stats.pop("tokens_out"), int)
    assert stats == {
        "requests": 3,
        "in_flight": 0,
        "max_in_flight": 1,
        "by_status": {"200": 3},
        "aborted": 0,
        "duplicates": 2,
        "batched": 0,
        "batches": 0,
        "batches_running": 0,
    }


async def test_closing_answers_every_waiting_request(
    open_provider: Open, request_: CompletionRequest
) -> None:
    async with SimulatedServer(Behaviour(gold={}, latency_ms=60_000)) as server:
        provider = await open_provider("openai", server.url)
        slow = asyncio.create_task(provider.complete(request_, timeout=30))
        silent_provider = await open_provider("openai", server.url, model="always-silent")
        silent = asyncio.create_task(silent_provider.complete(request_, timeout=30))
        await server.simulation.until(lambda stats: stats["in_flight"] == 2)

    assert (await slow).model == "simulated-judge"
    with pytest.raises(ProviderError, match="HTTP 500"):
        await silent


async def test_closing_at_the_moment_when_an_answer_is_due(
    open_provider: Open, request_: CompletionRequest
) -> None:
    closed = asyncio.get_running_loop().create_future()
    async with SimulatedServer(Behaviour(gold={}, latency_ms=100)) as server:
        provider = await open_provider("openai", server.url)
        asked = asyncio.create_task(provider.complete(request_, timeout=30))
        await server.simulation.until(lambda stats: stats["in_flight"] == 1)
        asyncio.get_running_loop().call_later(
            0.2, lambda: closed.set_result(server.simulation.close())
        )
        time.sleep(0.3)  # noqa: ASYNC251  both are due when the loop goes on
        await asyncio.wait_for(closed, 5)
        assert (await asked).model == "simulated-judge"


async def test_a_request_of_another_kind_is_refused_with_a_reason(server: SimulatedServer) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        refused = await client.post(f"{server.url}/v1/chat/completions", json={"prompt": "old"})
        stats = (await client.get(f"{server.url}/stats")).json()

    assert refused.status_code == 400
    assert "messages" in refused.json()["error"]["message"]
    assert stats["by_status"] == {"400": 1}


def test_it_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "evalqueue.evaluators.simulated.vendor.server", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        stats = httpx.get(f"{address}/stats", trust_env=False, timeout=60).json()
        process.terminate()

    assert stats["requests"] == 0


async def test_a_judge_with_gold_labels_only_does_not_judge_the_rest() -> None:
    gold = {"intent": {"known": {"1": {"predicted_agent": "FoodAgent"}}}}
    schema = {"type": "object", "properties": {"predicted_agent": {"enum": ["FoodAgent"]}}}
    async with (
        SimulatedServer(Behaviour(gold=gold, only_gold=True)) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as http,
    ):

        async def asked(thread_id: str) -> dict[str, Any]:
            prompt = f'Thread: "{thread_id}"\nTurn to judge: 1\n\nUser:\n    hello\n'
            reply = await http.post(
                "/v1/chat/completions",
                json={
                    "model": "simulated-judge",
                    "messages": [{"role": "user", "content": prompt}],
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {"name": "intent", "schema": schema},
                    },
                },
            )
            return reply.json()["choices"][0]["message"]

        known, other = await asked("known"), await asked("other")

    assert json.loads(known["content"]) == {"predicted_agent": "FoodAgent"}
    assert other["content"] is None
    assert other["refusal"].startswith("not judged: no key set")
