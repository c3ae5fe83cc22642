"""A batch, end to end: submitted by a client, judged by a worker process, kept in rows."""

import asyncio
import shutil
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

from evalqueue import Client, Job, JobStatus
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.runs import reading
from evalqueue.evaluators.simulated.conversations import kaira_csv, sample_csv
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour, SimulatedServer

PATIENCE = 60.0  # seconds


async def query(database: Database, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        cursor = await connection.execute(sql.encode(), arguments)
        return await cursor.fetchall()


def run_of(job: Job) -> UUID:
    return UUID(job.progress.details["run_id"])


async def until_kept(database: Database, threads: int) -> None:
    """Wait until so many threads are kept."""
    async with asyncio.timeout(PATIENCE):
        while (await query(database, "SELECT count(*) FROM thread_evaluations"))[0][0] < threads:
            await asyncio.sleep(0.02)


async def test_a_batch_is_judged_kept_and_summed_up(
    client: Client, database: Database, start_daemon: Any, judge: SimulatedServer
):
    async with start_daemon():
        job = await client.submit(EvaluateBatch(total_items=48, concurrency=32))
        messages = [change.progress.message async for change in client.watch(job.id)]
        job = await client.get(job.id)

    assert job.status is JobStatus.COMPLETED
    assert job.result is not None
    assert messages[-1] == "Thread 48/48 (48 ok, 0 failed)"
    assert (job.progress.current, job.progress.total) == (48, 48)
    async with database.connection() as connection:
        run = await reading.get_run(connection, run_of(job))
        rows = await reading.threads_of(connection, run_of(job), after=0, limit=1000)
    assert run is not None
    assert (run.status, run.total_items, run.llm_provider) == ("completed", 48, "simulated")
    assert run.summary is not None
    assert run.summary["correctness_verdicts"] == dict(
        Counter(row.worst_correctness for row in rows)
    )
    calls = await query(
        database,
        "SELECT count(*), bool_and(tokens_in > 0 AND tokens_out > 0 AND duration_ms > 100), "
        "bool_and(thread_id IS NOT NULL AND provider = 'simulated') FROM api_logs",
    )
    assert calls == [(judge.simulation.stats["requests"], True, True)]
    assert run.summary["llm_calls"] == calls[0][0]
    # References, not copies: nothing a user or the bot said is repeated, but for quoted evidence.
    assert "turns" not in rows[0].result["thread"]


async def test_a_batch_whose_worker_is_killed_goes_on_where_it_was(
    client: Client, database: Database, start_daemon: Any
):
    concurrency = 12
    slow = Behaviour(latency_ms=400, latency_sigma=0.5)  # the job is far from over when it is cut
    async with SimulatedServer(slow) as judge, SimulatedServer(Behaviour(latency_ms=1)) as other:
        # The one lease that is waited for: long enough that it isn't lost before the kill.
        url = {"EVALQUEUE_SIMULATED_URL": judge.url, "EVALQUEUE_LEASE_SECONDS": "5"}
        async with start_daemon(**url) as first:
            job = await client.submit(EvaluateBatch(total_items=48, concurrency=concurrency))
            await until_kept(database, 8)
            await first.kill()
            async with asyncio.timeout(PATIENCE):
                await judge.simulation.until(lambda stats: stats["in_flight"] == 0)
            answered = judge.simulation.stats["by_status"]["200"]
        kept = dict(await query(database, "SELECT thread_id, created_at FROM thread_evaluations"))
        async with start_daemon(EVALQUEUE_SIMULATED_URL=other.url):
            job = await client.wait(job.id, timeout=PATIENCE)
        bought = other.simulation.stats["requests"]

    assert job.status is JobStatus.COMPLETED
    assert (job.attempt, job.failed_attempts) == (2, 1)
    after = await query(database, "SELECT thread_id, created_at, attempt FROM thread_evaluations")
    assert len({thread_id for thread_id, _, _ in after}) == len(after) == 48
    assert {t: at for t, at, _ in after if t in kept} == kept, "what was kept is left alone"
    assert {attempt for t, _, attempt in after if t not in kept} == {2}
    ((needed, recorded),) = await query(
        database,
        "SELECT count(DISTINCT request_hash), count(*) FILTER (WHERE attempt = 1) FROM api_logs",
    )
    assert needed == 262
    assert recorded > 0
    assert bought == needed - recorded, "what is on record is not bought again"
    assert 0 <= answered - recorded <= concurrency, "a kill loses what was being answered"
    assert job.result is not None
    assert job.result["llm_calls"] == needed, "an answer that is replayed is no purchase"


async def test_a_run_s_first_attempt_looks_for_no_record(
    client: Client, database: Database, start_daemon: Any, dsn: str
):
    looks = """
        SELECT seq_scan + (SELECT sum(idx_scan)::bigint FROM pg_stat_user_indexes
            WHERE relname = 'api_logs' AND indexrelname NOT IN (
                'api_logs_call_id_key',  -- for writing
                'api_logs_parameters'))  -- for the summary: one look-up for each set of parameters
        FROM pg_stat_user_tables WHERE relname = 'api_logs'
        """
    connected = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'looking'"
    ((before,),) = await query(database, looks)
    async with start_daemon(DATABASE_URL=f"{dsn}&application_name=looking") as daemon:
        job = await client.submit(EvaluateBatch(total_items=5))
        await client.wait(job.id, timeout=PATIENCE)
        assert await query(database, connected)
        await daemon.terminate()
    async with asyncio.timeout(PATIENCE):
        while await query(database, connected):  # a backend tells what it did when it ends
            await asyncio.sleep(0.02)

    assert await query(database, looks) == [(before + 1,)], "once, for the totals of the summary"


async def test_a_run_records_what_was_really_sent(
    client: Client, database: Database, start_daemon: Any, judge: SimulatedServer
):
    params = EvaluateBatch(
        total_items=2,
        concurrency=1,
        llm_model="situation-new-parameters",
        evaluators=["intent"],
        max_output_tokens=9_000,
        model_settings={"seed": 7},
    )
    async with start_daemon():
        job = await client.submit(params)
        job = await client.wait(job.id, timeout=PATIENCE)

    assert job.status is JobStatus.COMPLETED
    sent = {"response_format": "json_schema", "max_completion_tokens": 9_000, "seed": 7}
    assert job.result is not None
    assert job.result["llm_parameters"] == [sent], "without the temperature, which was refused"
    rows = await query(database, "SELECT DISTINCT parameters FROM api_logs")
    assert rows == [(sent,)]
    refused = judge.simulation.stats["by_status"]["400"]
    assert refused == 2, "each parameter is refused once"


async def test_an_unjudged_answer_is_no_pass(
    client: Client, database: Database, start_daemon: Any, judge: SimulatedServer
):
    async with start_daemon():
        job = await client.submit(
            EvaluateBatch(
                total_items=48, llm_model="situation-filtered-turn", evaluators=["correctness"]
            )
        )
        job = await client.wait(job.id, timeout=PATIENCE)

    assert job.result is not None
    (score,) = job.result["scores"]
    gaps = await query(
        database,
        "SELECT count(*) FROM thread_evaluations WHERE missing_verdicts > 0 AND "
        "worst_correctness IN ('PASS', 'NOT APPLICABLE')",
    )
    assert gaps == [(0,)]
    assert score["not_measured"] > 0
    assert score["measured"] + score["not_measured"] == 48
    ((successes,),) = await query(
        database,
        "SELECT count(*) FROM thread_evaluations WHERE missing_verdicts > 0 AND success_status",
    )
    assert successes == 0


async def test_data_that_changed_since_the_run_began_is_not_mixed_in(
    client: Client, database: Database, start_daemon: Any, tmp_path: Path
):
    job_id = await begun_on_a_file(database, start_daemon, tmp_path / "data")
    (tmp_path / "data" / "chats.csv").unlink()
    async with SimulatedServer(Behaviour(latency_ms=1)) as fast:
        url = {"EVALQUEUE_SIMULATED_URL": fast.url}
        async with start_daemon(EVALQUEUE_DATA_DIR=str(tmp_path), **url):
            job = await client.wait(job_id, timeout=PATIENCE)

    assert job.status is JobStatus.COMPLETED, "it goes on with what it began with"
    dataset_id = job.params["dataset_id"]
    assert await query(
        database, "SELECT data_path, dataset_id, 'sha256:' || data_file_hash FROM eval_runs"
    ) == [("chats.csv", dataset_id, dataset_id)]
    assert await query(database, "SELECT count(*) FROM thread_evaluations") == [(48,)]


async def test_a_job_that_would_go_on_with_other_data_than_its_run_began_with_is_refused(
    client: Client, database: Database, start_daemon: Any, tmp_path: Path
):
    data = tmp_path / "data"
    job_id = await begun_on_a_file(database, start_daemon, data)
    await query(  # as it was before jobs kept the dataset that they read
        database, "UPDATE jobs SET params = params - 'dataset_id' WHERE id = %s RETURNING 1", job_id
    )
    shutil.copy(sample_csv(), data / "chats.csv")
    async with start_daemon(EVALQUEUE_DATA_DIR=str(data)):
        job = await client.wait(job_id, timeout=PATIENCE)

    assert job.status is JobStatus.FAILED
    assert job.error_message == "chats.csv has changed since the run began: submit it anew"


async def test_a_job_whose_run_was_deleted_is_refused(
    client: Client, database: Database, start_daemon: Any
):
    job = await client.submit(EvaluateBatch(total_items=3))
    await query(database, "DELETE FROM eval_runs WHERE id = %s RETURNING 1", run_of(job))
    async with start_daemon():
        job = await client.wait(job.id, timeout=PATIENCE)

    assert job.status is JobStatus.FAILED
    assert job.error_message == f"Its run {run_of(job)} was deleted: submit it anew"


async def begun_on_a_file(database: Database, start_daemon: Any, data: Path) -> UUID:
    """A job that came by plain SQL and whose worker was killed when it had begun."""
    data.mkdir()
    shutil.copy(kaira_csv(), data / "chats.csv")
    async with start_daemon(EVALQUEUE_DATA_DIR=str(data)) as first:
        ((job_id,),) = await query(
            database,
            "SELECT evalqueue_submit_job('evaluate-batch', %s::jsonb)",
            '{"data_path": "chats.csv", "llm_provider": "simulated", "concurrency": 2}',
        )
        await until_kept(database, 1)
        await first.kill()
        await first.declare_lost()
    return job_id


async def test_cancelling_aborts_the_llm_calls_in_flight(
    client: Client, database: Database, start_daemon: Any, judge: SimulatedServer
):
    async with SimulatedServer(Behaviour(latency_ms=30_000, latency_sigma=0)) as slow:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=slow.url):
            job = await client.submit(EvaluateBatch(total_items=10, concurrency=6))
            async with asyncio.timeout(PATIENCE):
                await slow.simulation.until(lambda stats: stats["in_flight"] == 6)
                await client.cancel(job.id)
                assert (await client.get(job.id)).status is JobStatus.CANCELLED
                await slow.simulation.until(lambda stats: stats["in_flight"] == 0)
                while (await query(database, "SELECT count(*) FROM api_logs"))[0][0] < 6:
                    await asyncio.sleep(0.02)
            assert slow.simulation.stats["aborted"] == 6

    assert await query(database, "SELECT status, outcome FROM jobs, job_attempts") == [
        ("cancelled", "cancelled")
    ]
    assert await query(database, "SELECT status FROM eval_runs") == [("cancelled",)]
    assert await query(database, "SELECT DISTINCT outcome FROM api_logs") == [("cancelled",)]
    assert judge.simulation.stats["requests"] == 0


async def test_sigterm_lets_a_batch_finish_and_then_the_process_ends(
    client: Client, database: Database, start_daemon: Any
):
    async with start_daemon() as daemon:
        job = await client.submit(EvaluateBatch(total_items=6, concurrency=4))
        await until_kept(database, 1)
        assert await daemon.terminate() == 0

    assert (await client.get(job.id)).status is JobStatus.COMPLETED


async def test_sigterm_past_the_grace_period_hands_the_batch_on(
    client: Client, database: Database, start_daemon: Any
):
    async with start_daemon("--shutdown-graceful-timeout=0.2") as daemon:
        job = await client.submit(EvaluateBatch(total_items=48, concurrency=4))
        await until_kept(database, 2)
        assert await daemon.terminate() == 0
        job = await client.get(job.id)
        assert (job.status, job.failed_attempts) == (JobStatus.QUEUED, 0)
        assert await query(database, "SELECT status FROM eval_runs") == [("pending",)]

    async with SimulatedServer(Behaviour(latency_ms=1)) as fast:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=fast.url):
            job = await client.wait(job.id, timeout=PATIENCE)
    assert job.status is JobStatus.COMPLETED
    assert (await query(database, "SELECT count(*) FROM thread_evaluations")) == [(48,)]


async def test_a_judge_that_fails_is_never_a_verdict(
    client: Client, database: Database, start_daemon: Any
):
    refusing = Behaviour(latency_ms=1, latency_sigma=0, rate_refusal=1.0)
    async with SimulatedServer(refusing) as judge:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=judge.url):
            job = await client.submit(EvaluateBatch(total_items=5))
            job = await client.wait(job.id, timeout=PATIENCE)

    assert job.status is JobStatus.FAILED
    assert job.error_message is not None
    assert job.error_message.startswith("All 5 thread evaluations failed: ")
    assert "judge_refused" in job.error_message
    assert await query(
        database,
        "SELECT DISTINCT intent_accuracy, worst_correctness, efficiency_verdict, success_status "
        "FROM thread_evaluations",
    ) == [(None, None, None, None)]
    ((status, summary),) = await query(database, "SELECT status, summary FROM eval_runs")
    assert status == "failed"
    assert summary["errors"] == 5
    assert "avg_intent_accuracy" not in summary


async def test_a_wrong_key_stops_the_job_at_once_with_that_reason(
    client: Client, database: Database, start_daemon: Any, judge: SimulatedServer
):
    async with start_daemon(
        OPENAI_API_KEY="bad-key", OPENAI_BASE_URL=f"{judge.url}/v1", EVALQUEUE_LLM_PROVIDER="openai"
    ):
        (row,) = await query(
            database,
            "SELECT evalqueue_submit_job('evaluate-batch', %s::jsonb)",
            '{"total_items": 40, "llm_provider": "openai", "llm_model": "m", "concurrency": 4}',
        )
        job = await client.wait(row[0], timeout=PATIENCE)

    assert job.status is JobStatus.FAILED
    assert job.error_message is not None
    assert job.error_message.startswith("auth: ")
    assert judge.simulation.stats["requests"] <= 4, "what was in flight, and nothing after it"
    everything = await query(
        database,
        "SELECT row_to_json(j)::text FROM jobs j "
        "UNION ALL SELECT row_to_json(l)::text FROM api_logs l",
    )
    assert not any("bad-key" in text for (text,) in everything)


async def test_bad_params_from_plain_sql_fail_the_job_and_say_why(
    client: Client, database: Database, start_daemon: Any
):
    async with start_daemon():
        for params, reason in [
            ('{"data_path": "../../etc/passwd"}', "data_path"),
            ('{"total_items": 3, "sample": 2}', "sample"),
            ('{"csv_content": "thread_id\\nt1\\n"}', "query_text"),
            ('{"dataset_id": "sha256:%s"}' % ("0" * 64), "dataset"),
        ]:
            (row,) = await query(
                database, "SELECT evalqueue_submit_job('evaluate-batch', %s::jsonb)", params
            )
            job = await client.wait(row[0], timeout=PATIENCE)
            assert job.status is JobStatus.FAILED
            assert job.error_message is not None
            assert reason in job.error_message


async def test_a_retry_buys_only_the_verdicts_that_are_missing(
    client: Client, database: Database, start_daemon: Any
):
    # Some answers can't be read, nor their repairs: they are on record as answers all the same.
    flaky = Behaviour(latency_ms=1, rate_refusal=0.05, rate_malformed=0.25, seed=1)
    async with SimulatedServer(flaky) as bad, SimulatedServer(Behaviour(latency_ms=1)) as good:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=bad.url):
            first = await client.wait(
                (await client.submit(EvaluateBatch(total_items=20))).id, timeout=PATIENCE
            )
        assert first.status is JobStatus.COMPLETED
        before = await query(
            database,
            "SELECT thread_id, missing_verdicts, created_at, result -> 'failures'"
            " FROM thread_evaluations",
        )
        reasons = {each["reason"] for _, _, _, failures in before for each in failures}
        assert reasons == {"judge_refused", "schema_invalid"}
        ((run,),) = await query(database, "SELECT row_to_json(eval_runs) FROM eval_runs")
        assert run["status"] == "completed_with_errors"

        second = await client.retry(first.id)
        async with start_daemon(EVALQUEUE_SIMULATED_URL=good.url):
            second = await client.wait(second.id, timeout=PATIENCE)

    assert good.simulation.stats["requests"] == sum(missing for _, missing, _, _ in before)
    after = await query(
        database, "SELECT thread_id, missing_verdicts, created_at, job_id FROM thread_evaluations"
    )
    assert {missing for _, missing, _, _ in after} == {0}
    complete = {(thread_id, at) for thread_id, missing, at, _ in before if not missing}
    assert {(thread_id, at) for thread_id, _, at, job_id in after if job_id == first.id} == complete
    assert len(after) - len(complete) == sum(job_id == second.id for _, _, _, job_id in after) > 3
    assert second.progress.message == "Thread 20/20 (20 ok, 0 failed)"
    ((again,),) = await query(database, "SELECT row_to_json(eval_runs) FROM eval_runs")
    assert (again["id"], again["job_id"]) == (run["id"], str(second.id))
    assert (again["status"], again["error_message"]) == ("completed", None)
    assert again["config"] == run["config"]
    assert again["summary"]["total_threads"] == 20
    assert again["summary"]["failures"] == {}
    bought = bad.simulation.stats["requests"] + good.simulation.stats["requests"]
    assert again["summary"]["llm_calls"] == bought


async def test_a_retry_of_a_cancelled_job_goes_on_where_it_was(
    client: Client, database: Database, start_daemon: Any
):
    async with AsyncExitStack() as at_first:
        slow = SimulatedServer(Behaviour(latency_ms=600))  # nothing ends before the cancel comes
        slow = await at_first.enter_async_context(slow)
        asked = slow.simulation
        async with start_daemon(EVALQUEUE_SIMULATED_URL=slow.url):
            first = await client.submit(EvaluateBatch(total_items=24, concurrency=8))
            await until_kept(database, 3)
            await client.cancel(first.id)
            async with asyncio.timeout(PATIENCE):
                await asked.until(lambda stats: stats["in_flight"] == 0)
                # A cancel loses no call: each is on record, answered or cut short.
                calls = "SELECT count(*) FROM api_logs"
                while (await query(database, calls))[0][0] < asked.stats["requests"]:
                    await asyncio.sleep(0.02)
            kept = await query(database, "SELECT thread_id, created_at FROM thread_evaluations")
            await at_first.aclose()
            port = int(slow.url.rpartition(":")[2])
            async with SimulatedServer(Behaviour(latency_ms=1), port=port) as judge:
                job = await client.wait((await client.retry(first.id)).id, timeout=PATIENCE)

    assert job.status is JobStatus.COMPLETED
    after = await query(database, "SELECT thread_id, created_at FROM thread_evaluations")
    assert len(after) == 24
    assert set(kept) <= set(after)
    ((needed, recorded),) = await query(
        database,
        "SELECT count(DISTINCT request_hash), count(request_hash) FILTER (WHERE job_id = %s)"
        " FROM api_logs",
        first.id,
    )
    assert recorded > 0
    bought = judge.simulation.stats["requests"]
    assert bought == needed - recorded, "what is on record is not bought again"
    assert (await client.get(first.id)).status is JobStatus.CANCELLED
    assert await query(database, "SELECT status, job_id FROM eval_runs") == [("completed", job.id)]


async def test_a_retry_of_a_failed_job_takes_back_why_it_failed(
    client: Client, database: Database, start_daemon: Any, judge: SimulatedServer
):
    refusing = Behaviour(latency_ms=1, rate_refusal=1.0)
    async with SimulatedServer(refusing) as bad, start_daemon(EVALQUEUE_SIMULATED_URL=bad.url):
        first = await client.submit(EvaluateBatch(total_items=3))
        first = await client.wait(first.id, timeout=PATIENCE)
    assert first.status is JobStatus.FAILED
    async with start_daemon():
        job = await client.wait((await client.retry(first.id)).id, timeout=PATIENCE)

    assert job.status is JobStatus.COMPLETED
    assert await query(database, "SELECT status, error_message FROM eval_runs") == [
        ("completed", None)
    ]
    assert await query(database, "SELECT DISTINCT error FROM thread_evaluations") == [(None,)]
    assert judge.simulation.stats["requests"] == bad.simulation.stats["requests"]
