"""What it costs an application's transaction to have its messages evaluated.

    ./run bench posting [--messages 2000] [--connections 1 8]

Each connection inserts one message of its own conversation and commits, as a chat application does:
into a table of which evalqueue knows nothing, into one that `evalqueue_watch` watches, and with a
call of `evalqueue_post_messages`, in turns. CPU is that of the connection's process of Postgres,
which other work on the machine does not change as much. Then the watched rows are stored as posted
messages. The figures go to `bench/results`.
"""

import argparse
import asyncio
import random
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psycopg
import records
from processes import postgres

from evalqueue.evaluators.sources.posted import store_watched
from evalqueue.postgres.database import Database

TABLE = """
    CREATE TABLE {name} (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, conversation_id text NOT NULL,
        user_id text NOT NULL, role text NOT NULL, content text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now());
    CREATE INDEX ON {name} (conversation_id, created_at);
"""
WATCH = b"""SELECT evalqueue_watch('watched', thread_id => 'conversation_id',
    sent_at => 'created_at', user_id => 'user_id')"""
INSERT = "INSERT INTO {name} (conversation_id, user_id, role, content) VALUES (%s, 'u', 'user', %s)"
POST = b"""SELECT evalqueue_post_messages(jsonb_build_object('thread_id', %s::text, 'messages',
    jsonb_build_array(jsonb_build_object('role', 'user', 'content', %s::text, 'id', %s::text))))"""
TEXT = "I had two rotis and a bowl of dal for lunch, and a cup of tea. How much was it? " * 4
WAYS = ("nothing", "watched", "posted")
WARM = 50  # messages of each connection that are not measured
Session = psycopg.AsyncConnection[Any]


async def insert(session: Session, way: str, thread: str, number: int) -> None:
    """One message, committed."""
    table = "watched" if way == "watched" else "plain"
    async with session.transaction():
        await session.execute(INSERT.format(name=table).encode(), [thread, TEXT])
        if way == "posted":
            await session.execute(POST, [thread, TEXT, str(number)])


def cpu_ms(session: Session) -> float:
    """Milliseconds that the session's process of Postgres has computed (Linux)."""
    statistics = Path(f"/proc/{session.info.backend_pid}/schedstat").read_text()
    return int(statistics.split()[0]) / 1e6


Found = dict[str, list[tuple[float, float]]]
"""Milliseconds of each message, and of CPU, by the way it went."""


async def chat(dsn: str, name: str, messages: int, found: Found) -> None:
    """One connection of the application. A conversation has ten messages."""
    rng = random.Random(name)  # noqa: S311
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as session:
        for number in range(messages + WARM):
            for way in rng.sample(WAYS, len(WAYS)):
                thread = f"{name} {way} {number // 10}"
                computed, begun = cpu_ms(session), time.perf_counter()
                await insert(session, way, thread, number)
                took = (time.perf_counter() - begun) * 1000
                if number >= WARM:
                    found[way].append((took, cpu_ms(session) - computed))


async def measured(database: Database, connections: int, messages: int) -> dict[str, float]:
    found: Found = defaultdict(list)
    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            name = f"{connections} {number}"
            group.create_task(chat(database.conninfo, name, messages // connections, found))
    figures: dict[str, float] = {}
    for place, kind in enumerate(("", "CPU, ")):
        for share in (50, 99):
            at = {
                way: sorted(each[place] for each in times)[len(times) * share // 100]
                for way, times in found.items()
            }
            figures[f"{kind}p{share} without, ms"] = round(at["nothing"], 2)
            for way in WAYS[1:]:
                figures[f"{kind}p{share} more if {way}, ms"] = round(at[way] - at["nothing"], 2)
    return figures


async def main(given: argparse.Namespace) -> None:
    measured_on = records.machine()
    figures: dict[str, dict[str, float]] = {}
    async with postgres() as database:
        async with database.connection() as connection:
            for name in ("plain", "watched"):
                await connection.execute(TABLE.format(name=name).encode())
            await connection.execute(WATCH)
        for connections in given.connections:
            figures[f"{connections} connections"] = await measured(
                database, connections, given.messages
            )
        begun = time.perf_counter()
        await store_watched(database, "default")
        rows = len(given.connections) * given.messages + WARM * sum(given.connections)
        speed = round(rows / (time.perf_counter() - begun))
    names = next(iter(figures.values()))
    lines = [f"| | {' | '.join(figures)} |", "|---|" + "---|" * len(figures)]
    lines += [
        f"| {name} | {' | '.join(str(e[name]) for e in figures.values())} |" for name in names
    ]
    shown = "\n".join([*lines, "", f"Watched rows are stored as messages at {speed:,}/s."])
    print(f"\n{shown}")
    records.save("posting", shown, measured_on, figures=figures, stored_per_second=speed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=2_000)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8])
    asyncio.run(main(parser.parse_args()))
