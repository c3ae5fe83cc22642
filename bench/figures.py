"""Figures of a run with 10,000 threads of 5 messages and 80,000 LLM calls, over HTTP.

    ./run bench figures [threads] [looks]

The 48 bundled conversations are judged by the simulated vendor; their rows are then multiplied.
There are two measurements: of tables that were never vacuumed (the worst case), and of tables that
were vacuumed before the last calls, fewer than those that trigger an automatic vacuum.
"""

import asyncio
import statistics
import sys
import time
from typing import Any
from uuid import UUID

import httpx
from processes import postgres

from evalqueue import Client, Settings
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.handlers import evaluation_handlers
from evalqueue.evaluators.providers.registry import ProviderSettings
from evalqueue.evaluators.results.rows import QUERIES
from evalqueue.http.server import serve
from evalqueue.postgres.database import Connection, Database
from evalqueue.testing import run_jobs

CALLS_PER_THREAD = 8
MESSAGES = 5
NOT_VACUUMED = 12_000  # calls
NO_FILTER = {"evaluator": None, "name": None, "value": None}

MORE_THREADS = """
    WITH real AS (SELECT *, row_number() OVER (ORDER BY id) - 1 AS n FROM thread_evaluations)
    INSERT INTO thread_evaluations (run_id, job_id, thread_id, data_file_hash, intent_accuracy,
        worst_correctness, efficiency_verdict, success_status, error, result, attempt, duration_ms)
    SELECT run_id, job_id, 'more_' || number, data_file_hash, intent_accuracy, worst_correctness,
        efficiency_verdict, success_status, error, result || jsonb_build_object(
            'intent_evaluations', (SELECT jsonb_agg(entry) FROM (
                SELECT entry FROM generate_series(1, %(messages)s),
                    jsonb_array_elements(result -> 'intent_evaluations') AS entry
                LIMIT %(messages)s) AS five),
            'thread', result -> 'thread' || jsonb_build_object('message_count', %(messages)s::int)
        ), attempt, duration_ms
    FROM generate_series(1, %(threads)s - (SELECT count(*) FROM real)) AS number
    JOIN real ON n = number %% (SELECT count(*) FROM real)
"""
MORE_SCORES = """
    WITH real AS (
        SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM thread_evaluations
        WHERE thread_id NOT LIKE 'more_%%'
    ), more AS (
        SELECT id, run_id, thread_id,
            substr(thread_id, 6)::integer %% (SELECT count(*) FROM real) AS n
        FROM thread_evaluations WHERE thread_id LIKE 'more_%%'
    )
    INSERT INTO scores (run_id, evaluation_id, thread_id, turn, evaluator, version, name, kind,
        value_text, value_number, value_boolean, expected, evidence, reasoning, failure)
    SELECT more.run_id, more.id, more.thread_id, score.turn, score.evaluator, score.version,
        score.name, score.kind, score.value_text, score.value_number, score.value_boolean,
        score.expected, score.evidence, score.reasoning, score.failure
    FROM more JOIN real USING (n) JOIN scores AS score ON score.evaluation_id = real.id
"""
MORE_CALLS = """
    WITH real AS (
        SELECT *, row_number() OVER (ORDER BY id) - 1 AS n FROM api_logs
        WHERE thread_id IS NOT NULL)
    INSERT INTO api_logs (run_id, job_id, thread_id, evaluator, turn, provider, model, method,
        outcome, try_number, prompt, system_prompt, response, error, duration_ms, tokens_in,
        tokens_out, attempt, started_at)
    SELECT run_id, job_id, 'more_' || number / %(calls)s, evaluator, turn, provider, model, method,
        outcome, try_number, repeat(md5(number::text), 100) || prompt, system_prompt, response,
        error, duration_ms * (0.5 + 8 * random() * random()), tokens_in, tokens_out, attempt,
        started_at + number * interval '30 ms'
    FROM generate_series(1, %(rows)s::integer) AS number
    JOIN real ON n = number %% (SELECT count(*) FROM real)
"""


async def filled(database: Database, threads: int) -> UUID:
    """Create a run with so many threads."""
    async with Client(database.conninfo, job_types=[EvaluateBatch]) as client:
        await client.submit(EvaluateBatch(llm_provider="simulated", total_items=48))
    await run_jobs(database.conninfo, evaluation_handlers(Settings(), ProviderSettings()))
    async with database.connection() as connection:
        for table in ("thread_evaluations", "scores", "api_logs"):
            await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())
        await connection.execute(MORE_THREADS, {"threads": threads, "messages": MESSAGES})
        await connection.execute(MORE_SCORES, {})
        await more_calls(connection, threads * CALLS_PER_THREAD)
        row = await (await connection.execute("SELECT id FROM eval_runs")).fetchone()
    assert row is not None
    return row[0]


async def more_calls(connection: Connection, rows: int) -> None:
    await connection.execute(MORE_CALLS, {"rows": rows, "calls": CALLS_PER_THREAD})


async def look(http: httpx.AsyncClient, what: str, looks: int, **query: Any) -> str:
    """The durations and the size of a request."""
    took: list[float] = []
    size = 0
    for _ in range(looks):
        begun = time.perf_counter()
        reply = await http.get(what, params=query)
        took.append((time.perf_counter() - begun) * 1000)
        reply.raise_for_status()
        size = len(reply.content)
    return (
        f"best {min(took):6.1f} ms, p50 {statistics.median(took):6.1f} ms,"
        f" max {max(took):6.1f} ms, {size / 1000:7.1f} kB"
    )


async def read(database: Database, query: str, **arguments: Any) -> str:
    """The pages that Postgres read for a statement, and its duration."""
    async with database.connection() as connection:
        cursor = await connection.execute(
            b"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) " + QUERIES[query].encode(), arguments
        )
        plan = [line.strip() for (line,) in await cursor.fetchall()]
    pages = next(line for line in plan if line.startswith("Buffers"))
    return f"{pages}; {plan[-1]}"


async def main(threads: int, looks: int) -> None:
    async with postgres() as database:
        begun = time.perf_counter()
        run_id = await filled(database, threads)
        print(f"{threads} threads in {time.perf_counter() - begun:.0f} s")
        client = Client(settings=Settings(port=0), database=database)
        async with (
            serve(client) as address,
            httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=60) as http,
        ):
            path = f"/api/eval-runs/{run_id}"
            for state in ("never vacuumed", "as a run leaves them"):
                if state == "as a run leaves them":
                    async with database.connection() as connection:
                        await connection.execute(
                            "VACUUM ANALYZE thread_evaluations, scores, api_logs"
                        )
                        await more_calls(connection, NOT_VACUUMED)
                print(f"tables {state}")
                print("  statistics     ", await look(http, f"{path}/statistics", looks))
                for limit in (1000, 5000):
                    line = await look(http, f"{path}/outcomes", looks, limit=limit)
                    print(f"  outcomes, {limit} ", line)
                line = await look(http, f"{path}/threads", looks, limit=1000)
                print("  threads, 1000  ", line, "(with their results)")
                middle = {"run_id": run_id, "evaluation_id": threads // 2}
                line = await look(http, f"{path}/threads/{threads // 2}", looks)
                print("  one thread     ", line)
                line = await look(http, f"{path}/logs", looks, thread_id="more_77")
                print("  its calls      ", line)
                page = {"run_id": run_id, "after": 0, "limit": 5000, **NO_FILTER}
                print("  outcomes reads ", await read(database, "outcomes", **page))
                queries = (
                    "labels",
                    "turn_labels",
                    "numbers",
                    "pairs",
                    "coverage",
                    "failures",
                    "calls",
                )
                for query in queries:
                    compared = {"open_evaluators": ["intent"], "open_names": ["agent"]}
                    line = await read(database, query, run_id=run_id, **compared)
                    print(f"  {query:<14} ", line)
                print("  beside         ", await read(database, "beside", **middle))


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    asyncio.run(main(*given, *(10_000, 20)[len(given) :]))
