"""What a batch may cost is estimated before it, with an interval, and then compared."""

from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from costing import Judged, billed, query, run_of
from hypothesis import given
from hypothesis import strategies as st

from evalqueue import Client
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.batch.earlier_runs import RecentCall
from evalqueue.evaluators.batch.estimates import (
    estimate_batch,
    estimate_evaluator,
    relative_error,
)
from evalqueue.evaluators.batch.samples import PromptLengths
from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.judging.builtin.intent import DECLARATION as INTENT
from evalqueue.evaluators.judging.evaluator import Evaluation
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.prices.price_list import ModelPrice, PriceList
from evalqueue.http.server import serve
from evalqueue.postgres.database import Database
from evalqueue.settings import Settings
from evalqueue.testing import SimulatedServer


@pytest.fixture
async def api(client: Client, database: Database) -> AsyncGenerator[httpx.AsyncClient]:
    shown = Client(job_types=[EvaluateBatch], settings=Settings(port=0), database=database)
    async with (
        serve(shown) as address,
        httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=30) as http,
    ):
        yield http


async def previewed(api: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    reply = await api.post("/api/eval-runs/preview", json={"total_items": 48} | params)
    assert reply.status_code == 200, reply.text
    return reply.json()["estimate"]


@pytest.mark.usefixtures("priced")
async def test_a_preview_learns_from_recorded_calls_and_its_error_is_shown(
    api: httpx.AsyncClient, judge: Judged, vendor: SimulatedServer
):
    at_first = await previewed(api)
    assert at_first["recorded_calls"] == 0
    first = await judge(total_items=48)
    stats, cost = vendor.simulation.stats, billed(vendor.simulation.stats)
    learned = await previewed(api)
    assert learned["recorded_calls"] > 30
    assert learned["calls"] == at_first["calls"] == stats["requests"]
    for estimate in (at_first, learned):
        for name in ("tokens_in", "tokens_out"):
            assert estimate[name]["low"] <= stats[name] <= estimate[name]["high"], name
        low, high = (Decimal(estimate["cost_usd"][each]) for each in ("low", "high"))
        assert low <= cost <= high
    wide, narrow = (
        Decimal(each["cost_usd"]["high"]) - Decimal(each["cost_usd"]["low"])
        for each in (at_first, learned)
    )
    assert narrow < wide / 2
    assert abs(Decimal(learned["cost_usd"]["expected"]) - cost) < cost / 5

    second = await judge(total_items=48)
    for job in (first, second):
        found = (await api.get(f"/api/eval-runs/{run_of(job)}/statistics")).json()
        expected = Decimal(found["estimate"]["cost_usd"]["expected"])
        error = found["estimate_errors"]["cost_usd"]
        assert error == relative_error(expected, Decimal(found["llm"]["cost_usd"]))
        assert found["estimate_errors"]["tokens"] is not None
    assert abs(error) < 0.2
    reused = await judge(total_items=48, reuse=True)
    found = (await api.get(f"/api/eval-runs/{run_of(reused)}/statistics")).json()
    assert found["estimate"]["calls"] > 0
    assert found["estimate_errors"] is None, "it is about calls that were not made"


async def test_votes_are_in_the_preview_and_in_the_estimate(api: httpx.AsyncClient, judge: Judged):
    async def counted(**params: Any) -> dict[str, Any]:
        reply = await api.post("/api/eval-runs/preview", json={"total_items": 12} | params)
        assert reply.status_code == 200, reply.text
        return reply.json()

    once = await counted()
    votes = {"efficiency": 3, "intent": 2}
    voted = await counted(votes=votes)
    job = await judge(total_items=12, votes=votes)
    found = (await api.get(f"/api/eval-runs/{run_of(job)}/statistics")).json()

    assert voted["llm_calls"]["evaluators"] == {
        name: calls * votes.get(name, 1) for name, calls in once["llm_calls"]["evaluators"].items()
    }
    assert found["llm"]["calls"] == voted["estimate"]["calls"] == voted["llm_calls"]["total"]
    for tokens in ("tokens_in", "tokens_out"):
        assert voted["estimate"][tokens]["expected"] > 1.8 * once["estimate"][tokens]["expected"]

    panel = await counted(votes=votes, panel={"openai/other": 1.4, "simulated/simulated-judge": 2})
    assert panel["llm_calls"]["evaluators"] == {
        name: calls * (votes.get(name, 1) + 1)
        for name, calls in once["llm_calls"]["evaluators"].items()
    }
    assert panel["estimate"]["calls"] == panel["llm_calls"]["total"]


async def test_without_a_price_there_are_tokens_only(
    api: httpx.AsyncClient, judge: Judged, database: Database
):
    estimate = await previewed(api)
    assert estimate["cost_usd"] is None
    assert estimate["tokens_in"]["expected"] > 0
    job = await judge(total_items=2)
    found = (await api.get(f"/api/eval-runs/{run_of(job)}/statistics")).json()
    assert found["estimate_errors"]["cost_usd"] is None
    assert found["estimate_errors"]["tokens"] is not None
    ((frozen,),) = await query(database, "SELECT config -> 'estimate' -> 'calls' FROM eval_runs")
    assert frozen == found["llm"]["calls"]


async def test_a_file_that_is_not_stored_is_estimated(api: httpx.AsyncClient):
    rows = "".join(
        f"t{n},u,2025-01-01T00:00:0{n},How many calories has an apple?,About 95 kcal.\n"
        for n in range(3)
    )
    text = "thread_id,user_id,timestamp,query_text,final_response_message\n" + rows
    reply = await api.post(
        "/api/eval-runs/preview", files={"file": ("test.csv", text.encode(), "text/csv")}
    )
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert found["estimate"]["calls"] == found["llm_calls"]["total"] > 0
    assert found["estimate"]["tokens_in"]["expected"] > 0


@given(
    lengths=st.lists(st.integers(0, 100_000), max_size=10),
    threads=st.integers(0, 10_000),
    calls=st.integers(0, 50_000),
    recorded=st.lists(
        st.builds(
            RecentCall,
            tokens_in=st.integers(0, 50_000),
            tokens_out=st.integers(0, 5_000),
            characters=st.integers(0, 70_000),
        ),
        max_size=20,
    ),
)
def test_an_expected_number_is_in_its_interval(
    lengths: list[int], threads: int, calls: int, recorded: list[RecentCall]
):
    found = estimate_evaluator(
        PromptLengths(texts=lengths, schemas=[100 for _ in lengths], calls=len(lengths)),
        threads=threads,
        calls=calls,
        recorded=recorded,
        model="m",
        prices=PriceList(None, {"m": ModelPrice(input=Decimal(1), output=Decimal(4))}),
        max_output_tokens=4096,
    )
    for each in (found.tokens_in, found.tokens_out, found.cost_usd):
        assert each is not None
        assert 0 <= each.low <= each.expected <= each.high


class RaisesForTheFirst:
    """An evaluator of another package, with a defect."""

    declaration = INTENT
    version = "intent/broken"

    async def evaluate(self, thread: Thread, judge: Judge, /) -> Evaluation:
        if thread.thread_id == "0":
            raise KeyError("a text of a conversation")
        return Evaluation(declaration=INTENT, version=self.version, details=None)


async def test_an_evaluator_that_fails_is_named_in_the_estimate(database: Database):
    threads = [Thread(thread_id=str(number), user_id=None, turns=()) for number in range(3)]
    plan = EvaluateBatch(total_items=3, evaluators=["intent"]).plan(
        app_store.shipped("kaira-bot").app
    )
    async with database.connection() as connection:
        found = await estimate_batch(
            connection, threads=threads, total_threads=3, calls=None,
            evaluators=[RaisesForTheFirst()], owner="default", choice=None, prices=None, plan=plan,
            others={},
        )  # fmt: skip
    assert found is not None
    assert found.as_json()["errors"] == ["intent raised KeyError for 1 of 3 conversations"]
