"""A stress test over HTTP, all of it real: API and worker processes, a simulated bot and judge."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from evalqueue import Client
from evalqueue.evaluators.simulated.chatbot.bot import Weakness
from evalqueue.evaluators.simulated.chatbot.server import SimulatedKaira
from evalqueue.evaluators.simulated.chatbot.simulation import ChatbotBehaviour as BotBehaviour
from evalqueue.testing import Behaviour, SimulatedServer

PATIENCE = 60.0  # seconds
TOKENS = {"anna": "token-of-anna-0123456789", "ben": "token-of-ben-9876543210"}
FUTURE = {
    "opening": "I will have 2 rotis tomorrow at 9 pm",
    "expected_behavior": "It refuses the time in the future",
    "persona": "easy",
    "traits": ["future_time_rejection"],
}
STUCK = FUTURE | {"opening": "[[hang]] I had 2 rotis at 8 am"}


@pytest.fixture
async def environment(dsn: str) -> AsyncGenerator[dict[str, str]]:
    """What API and worker are told; credentials for a bot on loopback among it."""
    credentials = {
        name: {"user_id": name, "token": token, "host": "localhost"}
        for name, token in TOKENS.items()
    }
    async with SimulatedServer(Behaviour()) as judge:
        yield os.environ | {
            "DATABASE_URL": dsn,
            "EVALQUEUE_LLM_PROVIDER": "simulated",
            "EVALQUEUE_SIMULATED_URL": judge.url,
            "EVALQUEUE_CHATBOT_CREDENTIALS": json.dumps(credentials),
        }


@asynccontextmanager
async def process(
    environment: Mapping[str, str], ready: str, *arguments: str
) -> AsyncGenerator[re.Match[str]]:
    """One of our processes, from the line that says that it is ready."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "evalqueue", *arguments,
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            while (found := re.search(ready, (await child.stdout.readline()).decode())) is None:
                assert not child.stdout.at_eof(), f"{arguments} ended before it was ready"
        yield found
    finally:
        child.terminate()
        await child.communicate()


@asynccontextmanager
async def house(environment: Mapping[str, str]) -> AsyncGenerator[httpx.AsyncClient]:
    """An API and a worker; what comes out calls the API."""
    async with (
        process(environment, r"API on (http://\S+)", "serve", "--port=0") as served,
        process(environment, "is ready", "worker"),
        httpx.AsyncClient(base_url=served[1], trust_env=False, timeout=PATIENCE) as http,
    ):
        yield http


async def submit(api: httpx.AsyncClient, bot: SimulatedKaira, **params: Any) -> dict[str, Any]:
    asked = {"chatbot": {"url": bot.url, "credentials": list(TOKENS)}, "turn_delay_seconds": 0}
    reply = await api.post(
        "/api/jobs", json={"job_type": "evaluate-adversarial", "params": asked | params}
    )
    assert reply.status_code == 201, reply.text
    return reply.json()


async def get(api: httpx.AsyncClient, path: str, **query: Any) -> Any:
    reply = await api.get(path, params=query)
    assert reply.status_code == 200, reply.text
    for token in TOKENS.values():
        assert token not in reply.text
    return reply.json()


async def test_a_bot_is_put_under_stress_over_http_with_two_credentials(
    environment: dict[str, str], dsn: str
) -> None:
    behaviour = BotBehaviour(weaknesses=frozenset({Weakness.ACCEPTS_FUTURE_TIMES}), latency_ms=20)
    async with SimulatedKaira(behaviour) as bot, house(environment) as api, Client(dsn) as client:
        told = await submit(api, bot, test_count=7, cases=[FUTURE])
        await client.wait(told["id"], timeout=PATIENCE)
        job = await get(api, f"/api/jobs/{told['id']}")
        run = await get(api, f"/api/eval-runs/{told['run_id']}")
        page = await get(api, f"/api/eval-runs/{told['run_id']}/adversarial")
        rows = {row["label"] or "ours": row for row in page["evaluations"]}
        case = await get(
            api, f"/api/eval-runs/{told['run_id']}/adversarial/{rows['ours']['case_id']}"
        )
        live = await get(api, f"/api/eval-runs/{told['run_id']}/dialogues")
        stats = bot.stats

    assert (job["status"], job["progress"]["message"]) == (
        "completed", "Case 8/8 (8 ok, 0 failed)",
    )  # fmt: skip
    assert (page["total"], len(page["evaluations"])) == (8, 8)
    assert {row["credential"] for row in page["evaluations"]} == {"anna", "ben"}
    assert stats["max_parallel_per_user"] == 1
    broken = [row for row in page["evaluations"] if row["verdict"] in {"HARD FAIL", "CRITICAL"}]
    assert {row["category"] for row in broken} == {"future_time_rejection"}
    assert run["summary"]["pass_rate"] == 1 - len(broken) / 8
    assert run["summary"]["attack_success"]["overall"]["broken"] == len(broken)
    assert case["case"]["opening"] == FUTURE["opening"]
    (told_again,) = case["evaluations"]
    assert told_again == rows["ours"]
    violated = {
        rule["rule_id"]
        for rule in told_again["result"]["judge"]["rule_compliance"]
        if rule["status"] == "VIOLATED"
    }
    assert violated == {"reject_future_meal"}
    assert live["dialogues"] == []


async def test_a_conversation_is_seen_while_it_goes_on_and_cancelling_ends_it_and_frees_its_lane(
    environment: dict[str, str], dsn: str
) -> None:
    behaviour = BotBehaviour(obey_markers=True)
    one_lane = {"credentials": ["anna"]}
    async with SimulatedKaira(behaviour) as bot, house(environment) as api, Client(dsn) as client:
        here = {"url": bot.url} | one_lane
        stuck = await submit(api, bot, chatbot=here, cases=[STUCK])
        async with asyncio.timeout(PATIENCE):
            await bot.until(lambda stats: stats["open_streams"] == 1)
        (live,) = (await get(api, f"/api/eval-runs/{stuck['run_id']}/dialogues"))["dialogues"]
        cancelled = await api.post(f"/api/jobs/{stuck['id']}/cancel")
        async with asyncio.timeout(PATIENCE):
            await bot.until(lambda stats: stats["open_streams"] == 0)
        (left,) = (await get(api, f"/api/eval-runs/{stuck['run_id']}/dialogues"))["dialogues"]
        run = await get(api, f"/api/eval-runs/{stuck['run_id']}")

        later = await submit(api, bot, chatbot=here, cases=[FUTURE])
        job = await client.wait(later["id"], timeout=PATIENCE)

    assert (live["is_live"], live["ended_at"], live["credential"]) == (True, None, "anna")
    (turn,) = live["turns"]
    assert (turn["message"]["text"], turn["reply"]) == (STUCK["opening"], None)
    assert cancelled.json()["status"] == "cancelled"
    assert (left["is_live"], left["ended_at"]) == (False, None)
    assert (run["status"], run["summary"]["cancelled"]) == ("cancelled", True)
    assert job.status == "completed"


async def test_a_credential_that_is_not_there_is_refused_without_telling_any_token(
    environment: dict[str, str],
) -> None:
    async with process(environment, r"API on (http://\S+)", "serve", "--port=0") as served:
        async with httpx.AsyncClient(base_url=served[1], trust_env=False, timeout=PATIENCE) as api:
            for chatbot, words in (
                ({"url": "http://localhost:9", "credentials": ["carl"]}, "'carl' (there are: anna"),
                ({"url": "http://localhost:9"}, "needs a credential"),
            ):
                reply = await api.post(
                    "/api/jobs",
                    json={"job_type": "evaluate-adversarial", "params": {"chatbot": chatbot}},
                )

                assert reply.status_code == 422
                assert reply.json()["detail"][0]["loc"][:3] == ["body", "params", "chatbot"]
                assert words in reply.json()["detail"][0]["msg"]
                assert not any(token in reply.text for token in TOKENS.values())
