"""What is evaluated is stored: a preview counts what will be asked, and no worker needs a file."""

import asyncio
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from evalqueue import Client, JobStatus, Settings
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.batch import preview
from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.evaluators.simulated.conversations import kaira_csv
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour, SimulatedServer

PATIENCE = 60.0  # seconds


async def query(database: Database, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        cursor = await connection.execute(sql.encode(), arguments)
        return await cursor.fetchall()


async def until(database: Database, sql: str) -> None:
    """Wait until a query finds something."""
    async with asyncio.timeout(PATIENCE):
        while not await query(database, sql):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"sample_size": 9, "seed": 5},
        {"evaluate_intent": False, "thread_ids": ["thr_0001", "thr_0007", "thr_0012"]},
        {"evaluate_correctness": False, "sample_size": 12},
    ],
)
async def test_the_calls_that_a_preview_counted_are_the_calls_that_the_judge_gets(
    client: Client, database: Database, start_daemon: Any, params: dict[str, Any]
):
    with kaira_csv().open("rb") as file:
        added = await imports.add(
            database, Incoming(file=file, name="kaira.csv"), owner="default", kept=True
        )
        wanted = EvaluateBatch(dataset_id=added.dataset_id, concurrency=64, **params)
        admission = AdmissionContext(settings=client.settings, database=database)
        found = await preview.of_params(admission, wanted)
        of_file = await preview.of_file(
            admission, Incoming(file=file, name="kaira.csv"), EvaluateBatch(data_path="x", **params)
        )
    assert found.llm_calls == of_file.llm_calls
    assert found.llm_calls is not None
    async with SimulatedServer(Behaviour(latency_ms=1)) as judge:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=judge.url):
            job = await client.wait((await client.submit(wanted)).id, timeout=PATIENCE)
        requests = judge.simulation.stats["requests"]

    assert job.status is JobStatus.COMPLETED, job.error_message
    calls = await query(database, "SELECT evaluator, count(*) FROM api_logs GROUP BY 1")
    made: Counter[str] = Counter(dict(calls))
    assert made == Counter(found.llm_calls.evaluators)
    assert requests == found.llm_calls.total > 0
    assert found.chosen is not None
    assert job.progress.total == found.chosen.threads


async def test_a_file_that_a_job_names_is_not_needed_once_the_job_is_submitted(
    dsn: str, client: Client, database: Database, start_daemon: Any, tmp_path: Path
):
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(kaira_csv(), data / "chats.csv")
    async with Client(dsn, settings=Settings(data_dir=data)) as here:
        job = await here.submit(EvaluateBatch(data_path="chats.csv", sample_size=4))
    shutil.rmtree(data)
    async with start_daemon(EVALQUEUE_DATA_DIR=str(tmp_path / "elsewhere")):
        job = await client.wait(job.id, timeout=PATIENCE)

    assert job.status is JobStatus.COMPLETED, job.error_message
    ((run,),) = await query(database, "SELECT row_to_json(eval_runs) FROM eval_runs")
    assert (run["data_path"], run["dataset_id"]) == ("chats.csv", job.params["dataset_id"])
    assert run["config"]["dataset"]["name"] == "chats.csv"


async def test_hands_of_a_job_that_came_by_plain_sql_need_no_file_either(
    client: Client, database: Database, start_daemon: Any, tmp_path: Path
):
    data = tmp_path / "data"
    data.mkdir()
    lines = kaira_csv().read_text().splitlines()
    header, (example, *_) = (
        lines[0],
        [line for line in lines if line.startswith("thr_") and '"' not in line],
    )
    rows = [example.replace("thr_", f"c{n}_") for n in range(120)]
    (data / "chats.csv").write_text("\n".join([header, *rows]))
    # The job itself never gets an answer: all that is done before it is lost, its hand has done.
    silent, fast = Behaviour(rate_silent=1.0), Behaviour(latency_ms=1)
    async with SimulatedServer(silent) as judge, SimulatedServer(fast) as other:
        url = {"EVALQUEUE_SIMULATED_URL": judge.url}
        async with start_daemon(EVALQUEUE_DATA_DIR=str(data), **url) as first:
            ((job_id,),) = await query(
                database,
                "SELECT evalqueue_submit_job('evaluate-batch', %s::jsonb)",
                json.dumps({
                    "data_path": "chats.csv", "llm_provider": "simulated", "concurrency": 2,
                    "evaluate_efficiency": False, "evaluate_correctness": False,
                }),
            )  # fmt: skip
            await until(database, "SELECT 1 FROM jobs WHERE parent_id IS NOT NULL")
            url = {"EVALQUEUE_SIMULATED_URL": other.url}
            async with start_daemon(EVALQUEUE_DATA_DIR=str(tmp_path / "elsewhere"), **url):
                await until(
                    database,
                    "SELECT 1 FROM job_items JOIN jobs ON holder = id"
                    " WHERE parent_id IS NOT NULL AND succeeded",
                )
                job = await client.get(job_id)
                assert not job.status.is_over, job.error_message
                await first.kill()
                await first.declare_lost()
                job = await client.wait(job_id, timeout=PATIENCE)

    assert job.status is JobStatus.COMPLETED, job.error_message
    assert await query(database, "SELECT count(*) FROM thread_evaluations") == [(120,)]


async def test_a_file_that_came_by_plain_sql_is_read_by_the_worker_and_kept_as_threads(
    client: Client, database: Database, start_daemon: Any
):
    params = {"csv_content": kaira_csv().read_text(), "sample_size": 3}
    ((job_id,),) = await query(
        database,
        "SELECT evalqueue_submit_job('evaluate-batch', %s::jsonb, 'ann')",
        json.dumps(params | {"llm_provider": "simulated"}),
    )
    assert await query(database, "SELECT content IS NULL, format FROM datasets") == [(False, None)]
    assert await query(database, "SELECT dataset_id IS NOT NULL FROM eval_runs") == [(True,)]
    async with start_daemon():
        job = await client.wait(job_id, timeout=PATIENCE)

    assert job.status is JobStatus.COMPLETED, job.error_message
    assert await query(
        database, "SELECT content, format, threads, owner, kept FROM datasets, dataset_owners"
    ) == [(None, "csv", 48, "ann", False)]
    assert await query(database, "SELECT count(*) FROM dataset_threads") == [(48,)]
    again = EvaluateBatch.model_validate(dict(job.params))
    assert UUID(str((await client.submit(again, owner="ann")).id)) != job.id
