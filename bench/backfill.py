"""A backfill of a large table: what was read and judged, how fast, and in how much memory.

    ./run bench backfill [--messages 1000000] [--per-conversation 4] [--rate 0.01] [--kills 6]
                         [--workers 2] [--batch-size 2000] [--source support|posted] [--port 8830]

The table is an application's, or holds posted messages. Worker processes are killed with SIGKILL at
random moments, half of them while the table is read, and replaced. Then the counters of the source
are compared with the table, and each verdict with the sample that the ids alone say. The figures go
to `bench/results`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psutil
import psycopg
import records
from processes import postgres, vendor

from evalqueue import Client, Job
from evalqueue.evaluators import EvaluateBatch, EvaluateSource
from evalqueue.evaluators.sources import store
from evalqueue.evaluators.sources.sampling import share
from evalqueue.evaluators.sources.store import SourceRule
from evalqueue.postgres.database import Database

SINCE = datetime(2025, 1, 1, tzinfo=UTC)
POSITION = "backfill"
LOOK_SECONDS = 1.0
# Two messages a minute of each conversation; a new conversation every 30 seconds, so that thousands
# of them go on at the same time.
TABLE = b"""
    CREATE SCHEMA chat;
    CREATE TABLE chat.messages (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, conversation_id text NOT NULL,
        user_id text NOT NULL, role text NOT NULL, content text NOT NULL,
        created_at timestamptz NOT NULL);
"""
FILL = b"""
    INSERT INTO chat.messages (conversation_id, user_id, role, content, created_at)
    SELECT 'c' || thread, 'u' || thread %% 9973,
        CASE place %% 2 WHEN 0 THEN 'user' ELSE 'assistant' END,
        CASE place %% 2
            WHEN 0 THEN 'I had ' || thread %% 7 + 1 || ' rotis and dal, message ' || place
            ELSE 'Logged ' || thread %% 7 + 1 || ' rotis: ' || repeat('240 kcal ', 20) END,
        %(since)s::timestamptz + thread * interval '30 seconds' + place * interval '30 seconds'
    FROM generate_series(1, %(threads)s::integer) AS thread,
        generate_series(0, %(each)s::integer - 1) AS place
"""
INDEXES = b"""
    CREATE INDEX ON chat.messages (created_at);
    CREATE INDEX ON chat.messages (conversation_id);
"""
POSTED = (
    b"""
    INSERT INTO posted_threads (owner, thread_id, user_id, messages, size_bytes, first_at, last_at,
        posted_at)
    SELECT 'default', conversation_id, min(user_id), count(*), sum(length(content)),
        min(created_at), max(created_at), max(created_at)
    FROM chat.messages GROUP BY conversation_id""",
    b"""
    INSERT INTO posted_messages (owner, thread_id, arrival, message_key, sent_at, as_posted)
    SELECT 'default', conversation_id, row_number() OVER (
            PARTITION BY conversation_id ORDER BY created_at),
        sha256(id::text::bytea), created_at,
        jsonb_build_object('role', role, 'content', content, 'id', id::text)
    FROM chat.messages""",
)
JUDGED = b"""
    SELECT thread_id, count(*), bool_and(missing_verdicts = 0) FROM thread_evaluations GROUP BY 1
"""
OPEN_JOBS = b"SELECT count(*) FROM jobs WHERE completed_at IS NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen at one moment."""

    seconds: float
    done: int
    """Conversations that are read, or judged."""
    megabytes: float
    """Unshared and a share of the shared memory (PSS) of the largest worker process."""


@dataclass(kw_only=True)
class Phase:
    """The reading, or the judging."""

    looks: list[Look] = field(default_factory=list)

    def rate(self) -> float:
        first, last = self.looks[0], self.looks[-1]
        return (last.done - first.done) / max(last.seconds - first.seconds, LOOK_SECONDS)

    def thirds(self) -> tuple[float, float]:
        """The median of the largest process's memory in the first and in the last third."""
        third = max(1, len(self.looks) // 3)
        first, last = self.looks[:third], self.looks[-third:]
        return tuple(statistics.median(each.megabytes for each in part) for part in (first, last))  # pyright: ignore[reportReturnType]

    def peak(self) -> float:
        return max(each.megabytes for each in self.looks)


class Workers:
    """Worker processes that are replaced when they are killed."""

    def __init__(self, count: int, environment: dict[str, str]) -> None:
        self._count = count
        self._environment = os.environ | environment
        self._running: list[asyncio.subprocess.Process] = []
        self.killed = 0

    async def start(self) -> None:
        while len(self._running) < self._count:
            self._running.append(
                await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "evalqueue", "worker", "--processes=1", "--concurrency=4",
                    env=self._environment, stderr=asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                )
            )  # fmt: skip

    async def kill(self, rng: random.Random) -> None:
        """SIGKILL one, and start another one."""
        victim = self._running.pop(rng.randrange(len(self._running)))
        os.killpg(victim.pid, signal.SIGKILL)
        await victim.wait()
        self.killed += 1
        await self.start()

    def megabytes(self) -> float:
        sizes = [0.0]
        for each in self._running:
            with contextlib.suppress(psutil.Error):
                tree = [psutil.Process(each.pid), *psutil.Process(each.pid).children()]
                sizes += [process.memory_full_info().pss / 2**20 for process in tree]
        return max(sizes)

    async def stop(self) -> None:
        for each in self._running:
            os.killpg(each.pid, signal.SIGKILL)
            await each.wait()


@asynccontextmanager
async def workers(count: int, environment: dict[str, str]) -> AsyncGenerator[Workers]:
    found = Workers(count, environment)
    try:
        await found.start()
        yield found
    finally:
        await found.stop()


async def fill(database: Database, given: argparse.Namespace) -> int:
    """The application's table. Returns how many conversations it has."""
    threads = given.messages // given.per_conversation
    # Not from the pool, which closes a connection that says nothing for 30 s.
    async with await psycopg.AsyncConnection.connect(database.conninfo) as connection:
        await connection.execute(TABLE)
        where = {"since": SINCE, "threads": threads, "each": given.per_conversation}
        await connection.execute(FILL, where)
        await connection.execute(INDEXES)
        if given.source == "posted":
            for statement in POSTED:
                await connection.execute(statement)
            await connection.execute(b"ANALYZE posted_threads, posted_messages")
        await connection.execute(b"ANALYZE chat.messages")
    return threads


async def value(database: Database, statement: bytes) -> Any:
    async with database.connection() as connection:
        row = await (await connection.execute(statement)).fetchone()
    assert row is not None
    return row[0]


async def rule_of(database: Database) -> SourceRule | None:
    async with database.connection() as connection:
        rules = await store.rules(connection)
    return next(iter(rules), None)


class Backfill:
    """One backfill, watched until all is judged."""

    def __init__(
        self, client: Client, database: Database, crew: Workers, given: argparse.Namespace
    ) -> None:
        self._client = client
        self._database = database
        self._crew = crew
        self._rng = random.Random(given.seed)  # noqa: S311
        self._given = given
        self._begun = time.monotonic()
        self.reading, self.judging = Phase(), Phase()

    async def run(self, threads: int) -> Job:
        given = self._given
        params = EvaluateSource(
            source=given.source, position=POSITION, since=SINCE, sample_rate=given.rate,
            batch_size=given.batch_size, always_errors=False,
            evaluation={"evaluators": ["intent"], "concurrency": 32},
        )  # fmt: skip
        job = await self._client.submit(params)
        kills = sorted(self._rng.uniform(0.05, 0.95) for _ in range(given.kills))
        during_reading, during_judging = kills[::2], kills[1::2]
        while (found := await self._client.get(job.id)).completed_at is None:
            done = await value(
                self._database, b"SELECT COALESCE(sum(matched), 0) FROM source_readings"
            )
            await self._look(self.reading, int(done), threads, during_reading)
        assert found.error_message is None, found.error_message
        self._note(self.reading, threads)
        sampled = max(1, await value(self._database, b"SELECT sum(sampled) FROM source_readings"))
        while await value(self._database, OPEN_JOBS):
            done = await value(self._database, b"SELECT count(*) FROM thread_evaluations")
            await self._look(self.judging, done, sampled, during_judging)
        self._note(self.judging, sampled)
        return found

    def _note(self, phase: Phase, done: int) -> None:
        seconds = time.monotonic() - self._begun
        phase.looks.append(Look(seconds=seconds, done=done, megabytes=self._crew.megabytes()))

    async def _look(self, phase: Phase, done: int, total: int, kills: list[float]) -> None:
        self._note(phase, done)
        look = phase.looks[-1]
        if len(phase.looks) % 15 == 1:
            print(
                f"{look.seconds:6.0f} s  {done:,} of {total:,}  {look.megabytes:.0f} MB", flush=True
            )
        if kills and done / total >= kills[0]:
            print(f"{look.seconds:6.0f} s  SIGKILL at {done / total:.0%}", flush=True)
            kills.pop(0)
            await self._crew.kill(self._rng)
        await asyncio.sleep(LOOK_SECONDS)


async def check(database: Database, given: argparse.Namespace, threads: int) -> list[str]:
    """What does not add up: nothing, if all is well."""
    rule = await rule_of(database)
    assert rule is not None
    ids = [f"c{number}" for number in range(1, threads + 1)]
    expected = {each for each in ids if share(each, seed=0) < given.rate}
    async with database.connection() as connection:
        rows: Sequence[tuple[str, int, bool]] = await (await connection.execute(JUDGED)).fetchall()  # pyright: ignore[reportAssignmentType]
    print(
        f"matched {rule.matched:,}, sampled {rule.sampled:,}, "
        f"not in sample {rule.not_in_sample:,}, unreadable {rule.unreadable:,}, "
        f"judged {rule.judged:,}, failed {rule.failed:,}, "
        f"not judged {rule.not_judged:,}, waiting {rule.waiting:,}"
    )
    problems = {
        "conversations read": (rule.matched, threads),
        "sampled": (rule.sampled, len(expected)),
        "left out": (rule.skipped, threads - len(expected)),
        "judged": (rule.judged + rule.failed, len(expected)),
        "with a verdict missing": (rule.failed, 0),
        "evaluated": ({thread for thread, _, _ in rows} == expected, True),
        "evaluated twice": (sum(times > 1 for _, times, _ in rows), 0),
    }
    return [f"{name}: {found}, not {wanted}" for name, (found, wanted) in problems.items()
            if found != wanted]  # fmt: skip


async def main(given: argparse.Namespace) -> None:
    measured_on = records.machine()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(postgres())
        judge = await stack.enter_async_context(vendor(0, given.port))
        sources = {"support": {"address": database.conninfo, "relation": "chat.messages"}}
        environment = {
            "EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": judge,
            "EVALQUEUE_SOURCES": json.dumps(sources), "DATABASE_URL": database.conninfo,
        }  # fmt: skip
        os.environ |= environment  # the submission is checked here, too
        begun = time.monotonic()
        threads = await fill(database, given)
        print(f"{given.messages:,} messages of {threads:,} conversations, "
              f"after {time.monotonic() - begun:.0f} s", flush=True)  # fmt: skip
        crew = await stack.enter_async_context(workers(given.workers, environment))
        client = await stack.enter_async_context(
            Client(database=database, job_types=[EvaluateSource, EvaluateBatch])
        )
        backfill = Backfill(client, database, crew, given)
        job = await backfill.run(threads)
        problems = await check(database, given, threads)
        reading, judging = backfill.reading, backfill.judging
        figures: dict[str, Any] = {
            "messages": given.messages,
            "conversations": threads,
            "kills": crew.killed,
            "attempts of the reading job": job.attempt,
            "read, messages/s": round(reading.rate() * given.per_conversation),
            "judged after the reading, conversations/s": round(judging.rate(), 1),
            "all, s": round(judging.looks[-1].seconds),
            "largest worker at its peak, MB": round(max(reading.peak(), judging.peak())),
            "reading: first, last third, MB": [round(each) for each in reading.thirds()],
            "judging: first, last third, MB": [round(each) for each in judging.thirds()],
            "problems": problems,
        }
    shown = "\n".join(f"| {name} | {found} |" for name, found in figures.items())
    shown = f"| | |\n|---|---|\n{shown}"
    print(f"\n{shown}")
    records.save("backfill", shown, measured_on, figures=figures)
    sys.exit(bool(problems))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--per-conversation", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=2_000)
    parser.add_argument("--source", choices=["support", "posted"], default="support")
    parser.add_argument("--port", type=int, default=8830)
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(main(parser.parse_args()))
