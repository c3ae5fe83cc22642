"""A chat application's database, in a schema beside ours, and the settings that name it."""

import itertools
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json
from tests.conftest import url_of

from evalqueue import Client, Settings
from evalqueue.evaluators import EvaluateBatch, EvaluateSource, post_messages
from evalqueue.evaluators.handlers import evaluation_handlers
from evalqueue.evaluators.providers.registry import ProviderSettings
from evalqueue.evaluators.sources import store
from evalqueue.evaluators.sources.posting import PostedCounts
from evalqueue.evaluators.sources.store import SourceRule
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour, SimulatedServer, run_jobs

_numbers = itertools.count(1)
TABLE = """
CREATE SCHEMA chat;
CREATE TABLE chat.messages (
    id bigint GENERATED ALWAYS AS IDENTITY,
    conversation_id text,
    user_id text,
    question text,
    answer text,
    intent text,
    error text,
    created_at timestamptz,
    internal_note text DEFAULT 'not for judges'
);
"""


def ago(**length: float) -> datetime:
    return datetime.now(UTC) - timedelta(**length)


def said(text: str, *, by: str = "user", **more: Any) -> dict[str, Any]:
    """A message with an id of its own."""
    return {"role": by, "content": text, "id": f"m{next(_numbers)}"} | more


@dataclass(kw_only=True)
class Chat:
    """The application's database, and the jobs that evaluate it."""

    dsn: str
    database: Database
    set_sources: Callable[[dict[str, Any]], None]
    settings: Settings = field(default_factory=Settings)

    async def run(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            cursor = await connection.execute(sql.encode(), arguments)
            return [] if cursor.description is None else await cursor.fetchall()

    async def say(self, thread: str | None, at: datetime | None, **columns: Any) -> None:
        """Store one question with its answer."""
        row = {
            "conversation_id": thread, "user_id": "u1", "question": "Had two rotis",
            "answer": "Noted: 240 kcal", "intent": "FoodAgent", "created_at": at,
        } | columns  # fmt: skip
        await self.run(
            f"INSERT INTO chat.messages ({', '.join(row)}) VALUES ({', '.join('%s' for _ in row)})",
            *row.values(),
        )

    async def post(self, thread: str, *messages: dict[str, Any], **more: Any) -> PostedCounts:
        """Post messages of one conversation."""
        async with self.client() as client:
            posted = {"thread_id": thread, "messages": list(messages)} | more
            return await post_messages(client, posted)

    async def rule(self, name: str = "default") -> SourceRule:
        """What came of what was read under a position."""
        async with self.database.connection() as connection:
            (found,) = [each for each in await store.rules(connection) if each.name == name]
        return found

    def name_source(self, **options: Any) -> None:
        """Set EVALQUEUE_SOURCES to this database, under the name `support`."""
        source = {"address": url_of(self.dsn), "relation": "chat.messages"} | options
        self.set_sources({"support": source})

    async def submit(self, **params: Any) -> Any:
        async with self.client() as client:
            return await client.submit_params("evaluate-source", {"source": "support"} | params)

    def client(self) -> Client:
        return Client(self.dsn, settings=self.settings, job_types=[EvaluateSource, EvaluateBatch])

    async def work(self) -> None:
        """Run every job that is due, and those that they submit."""
        async with SimulatedServer(Behaviour()) as judge:
            providers = ProviderSettings(evalqueue_simulated_url=judge.url)
            await run_jobs(self.dsn, evaluation_handlers(self.settings, providers))

    async def read(self, **params: Any) -> dict[str, Any]:
        """Submit an `evaluate-source` job, run everything, and return its result."""
        job = await self.submit(**params)
        await self.work()
        async with self.client() as client:
            found = await client.get(job.id)
        assert found.status == "completed", found.error_message
        assert found.result is not None
        return dict(found.result)

    async def failed(self, **params: Any) -> str:
        """Submit an `evaluate-source` job that fails, and return its reason."""
        job = await self.submit(**params)
        await self.work()
        async with self.client() as client:
            found = await client.get(job.id)
        assert (found.status, found.attempt) == ("failed", 1), found.error_message
        return found.error_message or ""

    async def evaluated(self) -> list[list[str]]:
        """The conversations of each `evaluate-batch` job, in the order of submission."""
        rows = await self.run(
            "SELECT array_agg(thread_id ORDER BY position) FROM jobs"
            " JOIN dataset_threads ON dataset_id = params ->> 'dataset_id'"
            " WHERE job_type = 'evaluate-batch' GROUP BY jobs.id, jobs.created_at"
            " ORDER BY jobs.created_at"
        )
        return [ids for (ids,) in rows]

    async def turns(self, thread: str) -> list[dict[str, Any]]:
        """The turns of a conversation as they were stored last."""
        rows = await self.run(
            "SELECT turns FROM dataset_threads JOIN datasets ON datasets.id = dataset_id"
            " WHERE thread_id = %s ORDER BY created_at DESC LIMIT 1",
            thread,
        )
        return rows[0][0]


@pytest.fixture
async def chat(
    dsn: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Chat]:
    """The application's table, empty, named as the source `support`."""
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")

    def set_sources(sources: dict[str, Any]) -> None:
        monkeypatch.setenv("EVALQUEUE_SOURCES", json.dumps(sources))

    found = Chat(dsn=dsn, database=database, set_sources=set_sources)
    await found.run(TABLE)
    found.name_source()
    yield found
    await found.run("DROP SCHEMA chat CASCADE")


__all__ = ["Chat", "Json", "ago", "said"]
