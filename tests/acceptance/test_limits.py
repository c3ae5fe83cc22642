"""Rate limits, dead endpoints and refused credentials: every verdict, at the vendor's pace.

Real workers, a real vendor over HTTP. Its windows are some seconds long instead of a minute.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from evalqueue import Client, Job, JobStatus
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.simulated.vendor.limits import LimitKind, RetryAdvice
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour, SimulatedServer

PATIENCE = 90.0  # seconds


async def query(database: Database, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        cursor = await connection.execute(sql.encode(), arguments)
        return await cursor.fetchall()


async def missing(database: Database) -> int:
    rows = await query(
        database, "SELECT COALESCE(sum(missing_verdicts), 0) FROM thread_evaluations"
    )
    return int(rows[0][0])


async def outcomes(database: Database) -> Counter[str]:
    return Counter(each for (each,) in await query(database, "SELECT outcome FROM api_logs"))


async def finished(client: Client, params: EvaluateBatch, **options: Any) -> tuple[Job, list[str]]:
    """A job that is over, and the messages that were shown."""
    job = await client.submit(params, **options)
    messages = [change.progress.message async for change in client.watch(job.id)]
    return await client.get(job.id), messages


LIMITS = {
    "fixed windows without Retry-After": Behaviour(
        latency_ms=30, limit_requests=40, limit_window_seconds=3, limit_kind=LimitKind.WINDOW
    ),
    "a bucket without Retry-After": Behaviour(
        latency_ms=30, limit_requests=20, limit_window_seconds=1, limit_burst_seconds=0.5
    ),
    "headers": Behaviour(
        latency_ms=30, limit_requests=60, limit_window_seconds=3, limit_headers=True,
        limit_burst_seconds=0.5, retry_advice=RetryAdvice.MILLISECONDS,
    ),
    "dates": Behaviour(
        latency_ms=30, limit_requests=40, limit_window_seconds=3, limit_kind=LimitKind.WINDOW,
        retry_advice=RetryAdvice.DATE,
    ),
    "tokens only": Behaviour(
        latency_ms=30, limit_tokens=60_000, limit_window_seconds=3, limit_burst_seconds=0.5
    ),
    "tokens only, named": Behaviour(
        latency_ms=30, limit_tokens=60_000, limit_window_seconds=3, limit_burst_seconds=0.5,
        limit_named=True,
    ),
    "a limit that halves": Behaviour(
        latency_ms=30, limit_requests=60, limit_window_seconds=2, limit_burst_seconds=0.5,
        limit_halved_after=50,
    ),
}  # fmt: skip


@pytest.mark.parametrize("behaviour", LIMITS.values(), ids=LIMITS.keys())
async def test_a_rate_limit_costs_no_verdict(
    client: Client, database: Database, start_daemon: Any, behaviour: Behaviour
):
    async with SimulatedServer(behaviour) as vendor:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=vendor.url):
            job, messages = await finished(client, EvaluateBatch(total_items=24, concurrency=64))

    assert job.status is JobStatus.COMPLETED
    assert await missing(database) == 0
    assert messages[-1] == "Thread 24/24 (24 ok, 0 failed)"
    assert any("; waiting for simulated/simulated-judge: " in each for each in messages)
    counted = await outcomes(database)
    assert set(counted) <= {"ok", "rate_limited"}
    # Most of these few calls are made while the limit is not known yet.
    assert counted["rate_limited"] <= 0.5 * counted["ok"]


async def test_a_request_that_no_minute_allows_ends_at_once(
    client: Client, database: Database, start_daemon: Any
):
    """Its tokens are not waited for: at 30,000 a minute these calls would take two minutes."""
    async with SimulatedServer(Behaviour(latency_ms=30)) as vendor:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=vendor.url):
            job, _ = await finished(
                client,
                EvaluateBatch(total_items=8, concurrency=8, llm_model="situation-minute-too-small"),
            )

    counted = await outcomes(database)
    assert set(counted) == {"context_too_long"}
    assert counted["context_too_long"] == await missing(database)
    assert job.status is JobStatus.FAILED, "no question has a verdict"
    rows = await query(
        database,
        "SELECT EXTRACT(EPOCH FROM max(started_at) - min(started_at))::double precision"
        " FROM api_logs",
    )
    assert rows[0][0] < 30


async def test_gemini_says_when_to_come_back_and_what_its_limit_is(
    client: Client, database: Database, start_daemon: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GEMINI_API_KEY", "made-up")
    behaviour = Behaviour(
        latency_ms=30, limit_requests=30, limit_window_seconds=3, limit_kind=LimitKind.WINDOW,
        retry_advice=RetryAdvice.SECONDS, limit_named=True,
    )  # fmt: skip
    async with SimulatedServer(behaviour) as vendor:
        async with start_daemon(
            GOOGLE_GEMINI_BASE_URL=vendor.url, EVALQUEUE_LLM_PROVIDER="gemini"
        ):  # fmt: skip
            job, messages = await finished(
                client,
                EvaluateBatch(
                    total_items=16, concurrency=32, llm_provider="gemini", llm_model="g-1"
                ),
            )

    assert job.status is JobStatus.COMPLETED
    assert await missing(database) == 0
    # 30 in 3 s are 600 a minute.
    assert any("waiting for gemini/g-1: 600 requests a minute" in each for each in messages)
    counted = await outcomes(database)
    assert counted["rate_limited"] <= 20, "what was in flight when the first one was refused"


async def test_two_owners_on_two_workers_get_equal_shares(
    client: Client, database: Database, start_daemon: Any
):
    behaviour = Behaviour(
        latency_ms=30, limit_requests=25, limit_window_seconds=1, limit_burst_seconds=0.5
    )
    async with SimulatedServer(behaviour) as vendor:
        environment = {"EVALQUEUE_SIMULATED_URL": vendor.url}
        async with (
            start_daemon("--concurrency=1", **environment),
            start_daemon("--concurrency=1", **environment),
        ):
            # The second is smaller in everything but its right to an equal share.
            submitted = [
                await client.submit(
                    EvaluateBatch(total_items=48, concurrency=48, max_workers=1), owner="anna"
                ),
                await client.submit(
                    EvaluateBatch(total_items=40, concurrency=16, max_workers=1), owner="ben"
                ),
            ]
            jobs = [await client.wait(each.id, timeout=PATIENCE) for each in submitted]

    assert {job.status for job in jobs} == {JobStatus.COMPLETED}
    assert await missing(database) == 0
    calls = await query(
        database,
        "SELECT job_id, EXTRACT(EPOCH FROM started_at)::double precision FROM api_logs"
        " WHERE outcome = 'ok'",
    )
    times = {job.id: sorted(at for one, at in calls if one == job.id) for job in jobs}
    begin = max(each[0] for each in times.values()) + 2.0  # both are there, and known to be
    end = min(each[-1] for each in times.values())
    shares = [sum(begin <= at <= end for at in each) for each in times.values()]
    assert end - begin > 4
    assert max(shares) <= 1.1 * (sum(shares) / 2) + 1, shares
    counted = await outcomes(database)
    assert counted["rate_limited"] <= 0.06 * counted["ok"]


@pytest.mark.parametrize(
    ("stated", "least"),
    [
        ("simulated-judge=rpm:1200", 0.8),
        # A pace that is found goes above the limit and below it. The share of one worker is 0.5.
        ("", 0.65),
    ],
    ids=["stated", "found"],
)
async def test_a_killed_worker_takes_no_allowance_with_it(
    client: Client, database: Database, start_daemon: Any, stated: str, least: float
):
    behaviour = Behaviour(
        latency_ms=30, limit_requests=20, limit_window_seconds=1, limit_burst_seconds=0.5
    )
    async with SimulatedServer(behaviour) as vendor:
        environment = {"EVALQUEUE_SIMULATED_URL": vendor.url, "EVALQUEUE_LLM_LIMITS": stated}
        async with (
            start_daemon("--concurrency=1", **environment) as victim,
            start_daemon("--concurrency=1", **environment),
        ):
            submitted = [
                await client.submit(
                    EvaluateBatch(total_items=48, concurrency=32, max_workers=1), owner=owner
                )
                for owner in ("anna", "ben")
            ]
            async with asyncio.timeout(PATIENCE):
                while (await outcomes(database))["ok"] < 60:
                    await asyncio.sleep(0.1)
            await victim.kill()
            killed = (await query(database, "SELECT clock_timestamp()"))[0][0]
            await asyncio.sleep(9)
            rows = await query(
                database,
                "SELECT count(*) FROM api_logs WHERE outcome = 'ok'"
                " AND started_at BETWEEN %s + interval '5 s' AND %s + interval '9 s'",
                killed, killed,
            )  # fmt: skip
            assert rows[0][0] >= least * 20 * 4, "the other one has all of it after 5 s"
            await victim.declare_lost()
            jobs = [await client.wait(each.id, timeout=PATIENCE) for each in submitted]

    assert {job.status for job in jobs} == {JobStatus.COMPLETED}
    assert await missing(database) == 0


async def test_a_dead_endpoint_costs_a_few_calls_and_no_verdict(
    client: Client, database: Database, start_daemon: Any
):
    params = EvaluateBatch(total_items=20, concurrency=16, max_wait_seconds=4)
    async with SimulatedServer(Behaviour(rate_500=1.0)) as dead:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=dead.url):
            job, messages = await finished(client, params)
        asked = dead.simulation.stats["requests"]

    assert job.status is JobStatus.FAILED
    assert job.error_message is not None
    assert "No call to simulated/simulated-judge was answered for 4 s" in job.error_message
    assert "HTTP 500" in job.error_message
    assert any("which does not answer" in each for each in messages)
    assert asked <= 10
    async with SimulatedServer(Behaviour(latency_ms=5)) as alive:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=alive.url):
            job = await client.wait((await client.retry(job.id)).id, timeout=PATIENCE)
    assert job.status is JobStatus.COMPLETED
    assert await missing(database) == 0


async def test_an_endpoint_that_dies_midway_is_waited_for(
    client: Client, database: Database, start_daemon: Any
):
    alive = SimulatedServer(Behaviour(latency_ms=50))
    await alive.__aenter__()
    port = int(alive.url.rpartition(":")[2])
    async with start_daemon(EVALQUEUE_SIMULATED_URL=alive.url):
        submitted = await client.submit(EvaluateBatch(total_items=40, concurrency=16))
        async with asyncio.timeout(PATIENCE):
            await alive.simulation.until(lambda stats: stats["by_status"].get("200", 0) >= 60)
        await alive.__aexit__(None, None, None)
        async with SimulatedServer(Behaviour(rate_500=1.0), port=port) as dead:
            await asyncio.sleep(6)
            asked = dead.simulation.stats["requests"]
        async with SimulatedServer(Behaviour(latency_ms=5), port=port):
            job = await client.wait(submitted.id, timeout=PATIENCE)

    assert job.status is JobStatus.COMPLETED
    assert await missing(database) == 0
    assert asked <= 10 + 16 + 4, "those that stop new calls, those in flight then, single ones"


@pytest.mark.parametrize(
    ("environment", "model", "reason"),
    [
        ({"OPENAI_API_KEY": "bad-key"}, "m", "auth: "),
        ({"OPENAI_API_KEY": "good"}, "no-such-model", "model_missing: "),
        ({"OPENAI_API_KEY": "good"}, "always-billing", "billing: "),
    ],
)
async def test_what_no_call_can_escape_costs_one_call(
    client: Client, start_daemon: Any, judge: SimulatedServer,
    environment: dict[str, str], model: str, reason: str, monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.setenv("OPENAI_API_KEY", "to be admitted")
    async with start_daemon(OPENAI_BASE_URL=f"{judge.url}/v1", **environment):
        params = EvaluateBatch(
            total_items=40, concurrency=32, llm_provider="openai", llm_model=model
        )
        job, _ = await finished(client, params)

    assert job.status is JobStatus.FAILED
    assert job.error_message is not None
    assert job.error_message.startswith(reason)
    assert judge.simulation.stats["requests"] == 1


async def test_a_quota_for_the_day_stops_the_job_which_can_be_retried(
    client: Client, database: Database, start_daemon: Any
):
    params = EvaluateBatch(total_items=20, concurrency=4)
    async with SimulatedServer(Behaviour(latency_ms=5, limit_requests_per_day=40)) as vendor:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=vendor.url):
            job, _ = await finished(client, params)

    assert job.status is JobStatus.FAILED
    assert job.error_message is not None
    assert job.error_message.startswith("billing: ")
    assert "per day" in job.error_message
    kept = await query(database, "SELECT count(*) FROM thread_evaluations")
    assert kept[0][0] > 0
    assert await missing(database) == 0
    async with SimulatedServer(Behaviour(latency_ms=5)) as tomorrow:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=tomorrow.url):
            job = await client.wait((await client.retry(job.id)).id, timeout=PATIENCE)
    assert job.status is JobStatus.COMPLETED


async def test_a_firewall_s_page_about_one_conversation_stops_nothing(
    client: Client, database: Database, start_daemon: Any
):
    async with SimulatedServer(Behaviour(latency_ms=5, forbidden="thr_0004")) as vendor:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=vendor.url):
            job, _ = await finished(client, EvaluateBatch(total_items=10, concurrency=4))

    assert job.status is JobStatus.COMPLETED, job.error_message
    failed = await query(
        database,
        "SELECT thread_id, result -> 'failures' -> 0 ->> 'reason' FROM thread_evaluations"
        " WHERE missing_verdicts > 0",
    )
    assert failed == [("thr_0004", "auth")]


async def test_a_firewall_s_page_about_every_conversation_stops_the_job(
    client: Client, start_daemon: Any
):
    async with SimulatedServer(Behaviour(latency_ms=5, forbidden="Thread")) as vendor:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=vendor.url):
            job, _ = await finished(client, EvaluateBatch(total_items=40, concurrency=16))

    assert job.status is JobStatus.FAILED
    assert job.error_message is not None
    assert job.error_message.startswith("auth: simulated: HTTP 403: <html>")
    assert vendor.simulation.stats["requests"] <= 16


async def test_a_job_fails_after_its_longest_wait_with_all_that_was_judged(
    client: Client, database: Database, start_daemon: Any
):
    behaviour = Behaviour(
        latency_ms=5, limit_requests=30, limit_window_seconds=3_600, limit_kind=LimitKind.WINDOW
    )
    async with SimulatedServer(behaviour) as vendor:
        async with start_daemon(
            EVALQUEUE_SIMULATED_URL=vendor.url, EVALQUEUE_LLM_MAX_WAIT_SECONDS="3"
        ):
            job, messages = await finished(client, EvaluateBatch(total_items=20, concurrency=4))

    assert job.status is JobStatus.FAILED
    assert job.error_message is not None
    assert job.error_message.startswith("rate_limited: No call to simulated/simulated-judge")
    assert any("waiting for" in each for each in messages)
    assert "waiting for" not in job.progress.message
    kept = await query(database, "SELECT count(*) FROM thread_evaluations")
    assert kept[0][0] > 0
    assert await missing(database) == 0


async def test_limits_of_the_settings_are_kept(
    client: Client, database: Database, start_daemon: Any
):
    async with SimulatedServer(Behaviour(latency_ms=200)) as vendor:
        async with start_daemon(
            EVALQUEUE_SIMULATED_URL=vendor.url,
            EVALQUEUE_LLM_LIMITS="simulated-judge=rpm:1200,concurrent:3",
        ):
            job, _ = await finished(client, EvaluateBatch(total_items=8, concurrency=16))

    assert job.status is JobStatus.COMPLETED
    assert vendor.simulation.stats["max_in_flight"] <= 3
    assert most_in_a_second(
        [at for (at,) in await query(
            database, "SELECT EXTRACT(EPOCH FROM started_at)::double precision FROM api_logs"
        )]
    ) <= 20 * 1.5 + 2  # fmt: skip


async def test_two_workers_have_no_more_calls_in_flight_than_the_settings_allow(
    client: Client, database: Database, start_daemon: Any
):
    limit = 7  # no multiple of the number of workers
    async with SimulatedServer(Behaviour(latency_ms=150)) as vendor:
        simulation = vendor.simulation
        environment = {
            "EVALQUEUE_SIMULATED_URL": vendor.url,
            "EVALQUEUE_LLM_LIMITS": f"simulated-judge=concurrent:{limit}",
        }
        async with (
            start_daemon("--concurrency=1", **environment) as victim,
            start_daemon("--concurrency=1", **environment),
        ):
            work = EvaluateBatch(total_items=48, concurrency=32, max_workers=1)
            async with asyncio.timeout(PATIENCE):
                submitted = [await client.submit(work, owner="anna")]
                await simulation.until(lambda stats: stats["in_flight"] == limit)
                submitted.append(await client.submit(work, owner="ben"))
                while await slowest(database, submitted) < 40:
                    await asyncio.sleep(0.1)
            await victim.kill()
            await simulation.until(lambda stats: stats["in_flight"] < limit)
            async with asyncio.timeout(6):
                await simulation.until(lambda stats: stats["in_flight"] == limit)
            await victim.declare_lost()
            jobs = [await client.wait(each.id, timeout=PATIENCE) for each in submitted]

    assert {job.status for job in jobs} == {JobStatus.COMPLETED}
    assert await missing(database) == 0
    assert simulation.stats["max_in_flight"] == limit


async def slowest(database: Database, jobs: Sequence[Job]) -> int:
    """How many calls of each of some jobs were answered at least."""
    rows = await query(
        database, "SELECT job_id FROM api_logs WHERE outcome = 'ok' AND job_id = ANY (%s)",
        [each.id for each in jobs],
    )  # fmt: skip
    answered = Counter(each for (each,) in rows)
    return min(answered[each.id] for each in jobs)


def most_in_a_second(moments: Sequence[float]) -> int:
    ordered = sorted(moments)
    return max(sum(begin <= at < begin + 1 for at in ordered) for begin in ordered)
