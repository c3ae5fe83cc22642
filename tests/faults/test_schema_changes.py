"""A schema changes under processes that were started before, and go on."""

import asyncio
import contextlib
import os
import re
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import LiteralString, cast

import httpx
import pytest
from faults.api import api
from faults.callers import Callers
from faults.deployment import Deployment
from faults.fleet import Worker

from evalqueue import JobStatus
from evalqueue.evaluators import EvaluateBatch
from evalqueue.postgres import definitions, schema
from evalqueue.postgres.database import Database
from evalqueue.postgres.definitions import Definition, parsed, read_definitions
from evalqueue.postgres.schema import ledger
from evalqueue.testing import Behaviour, SimulatedServer

ROUNDS = (
    ("jobs",),
    ("eval_runs", "thread_evaluations"),
    ("api_logs", "scores"),
    ("job_attempts",),
    ("job_workers", "job_queues"),
)
"""The tables that each version changes. All at once are hardly ever free of others."""
TIMES = 6  # psycopg prepares a statement that it runs the sixth time
CHANGE = (
    "ALTER TABLE {0} ADD COLUMN added_{1} text, ADD COLUMN with_{1} integer NOT NULL DEFAULT 7;\n"
)


def with_another_argument(number: int) -> Mapping[str, Definition]:
    """Every function that has arguments gets one more, so that it is dropped and made anew."""
    changed = dict(read_definitions())
    for name, each in changed.items():
        found = re.search(r"\)\s+RETURNS\b", each.sql)
        if not name.startswith("FUNCTION") or found is None:
            continue
        # A comment may follow the last argument.
        arguments = re.sub(r"\s*--[^\n]*$", "", each.sql[: found.start()].rstrip())
        if not arguments.endswith("("):
            added = f", added_{number} integer DEFAULT NULL"
            (changed[name],) = parsed(each.file, arguments + added + each.sql[found.start() :])
    return changed


async def next_version(database: Database, number: int) -> list[str]:
    """Migrate to a synthetic version: some tables have two more columns, every function one more
    argument."""
    files = dict(ledger.own_migrations())
    for version, tables in enumerate(ROUNDS[: number + 1]):
        text = "".join(CHANGE.format(table, version) for table in tables)
        files[f"900{version}_next.sql"] = cast("LiteralString", text)
    changed = with_another_argument(number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "own_migrations", lambda: files)
        patch.setattr(definitions, "read_definitions", lambda: changed)
        return await schema.migrate(database)


def assert_no_errors(callers: Callers, workers: Sequence[Worker]) -> None:
    counted = Counter(re.sub(r"[0-9a-f-]{36}|\d+", "…", error) for error in callers.errors)
    assert not counted, counted.most_common(20)
    for worker in workers:
        log = worker.log_text()
        assert worker.is_alive, log
        assert "Traceback" not in log, log
        assert "waits for Postgres" not in log, log


async def test_old_processes_go_on_while_tables_get_columns_and_functions_arguments(
    deployment: Deployment, tmp_path: Path
):
    database = Database(deployment.address)
    await database.open()
    async with (
        SimulatedServer(Behaviour(latency_ms=100)) as judge,
        api(deployment.address, tmp_path) as http,
    ):
        simulated = {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": judge.url}
        workers = [await deployment.worker(None, **simulated) for _ in range(2)]
        callers = Callers(deployment.address, lambda: str(http.base_url))
        async with callers.running():
            batch = await deployment.submit(
                EvaluateBatch(llm_provider="simulated", total_items=48, concurrency=2)
            )
            ((run_id,),) = await deployment.watch.rows("SELECT id FROM eval_runs")
            callers.run_ids.append(run_id)
            for number in range(len(ROUNDS)):
                await callers.until_asked(TIMES if number == 0 else 2)
                done = await next_version(database, number)
                assert f"900{number}_next.sql" in done
            await callers.until_asked(TIMES)
            assert callers.messages > 0
        assert_no_errors(callers, workers)
        await deployment.assert_sound()

    await database.close()
    assert_no_errors(callers, workers)
    found = await deployment.get(batch)
    assert found.status is JobStatus.COMPLETED
    assert await deployment.watch.rows(
        "SELECT DISTINCT outcome FROM job_attempts WHERE outcome NOT IN ('completed', 'cancelled',"
        " 'yielded')"
    ) == []  # fmt: skip


async def until_refused(http: httpx.AsyncClient) -> None:
    # By connections alone: a request could reach the server while it closes its socket.
    with pytest.raises(ConnectionRefusedError):
        while True:
            _, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
            writer.close()
            await asyncio.sleep(0.02)


async def test_processes_restart_one_by_one_beside_the_schema_of_the_next_version(
    deployment: Deployment, tmp_path: Path
):
    """SIGTERM, then the same version again: it accepts the later schema."""
    database = Database(deployment.address)
    await database.open()
    pids: list[int] = []
    async with (
        SimulatedServer(Behaviour(latency_ms=100)) as judge,
        api(deployment.address, tmp_path, pids=pids) as old,
        contextlib.AsyncExitStack() as restarted,
    ):
        simulated = {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": judge.url}
        workers = [await deployment.worker(None, **simulated) for _ in range(2)]
        base = str(old.base_url)
        callers = Callers(deployment.address, lambda: base, may_end=True)
        async with callers.running():
            batch = await deployment.submit(
                EvaluateBatch(llm_provider="simulated", total_items=48, concurrency=2)
            )
            await callers.until_asked(2)
            await next_version(database, 0)
            await callers.until_asked(2)
            for worker in workers:
                worker.terminate()
                assert await worker.wait() == 0, worker.log_text()
                await deployment.worker(None, **simulated)
            new = await restarted.enter_async_context(api(deployment.address, tmp_path))
            base = str(new.base_url)  # as the load balancer does
            os.kill(pids[0], signal.SIGTERM)
            await until_refused(old)
            await callers.until_asked(2)
        await deployment.assert_sound()

    await database.close()
    assert callers.errors == []
    assert (await deployment.get(batch)).status is JobStatus.COMPLETED
    assert await deployment.watch.rows(
        "SELECT DISTINCT outcome FROM job_attempts"
        " WHERE outcome IN ('failed', 'retried', 'lost')"
    ) == []  # fmt: skip
