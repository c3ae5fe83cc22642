"""Event streams over HTTP: events, their order, and slow watchers."""

import asyncio
import contextlib
import json
import logging
import re
import shutil
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from faults.server import Server, Stopping
from homes import temporary_home
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from tests.http.conftest import PATIENCE, readiness

from evalqueue import Client, JobParams, Settings
from evalqueue.evaluators.simulated.loopback import Loopback
from evalqueue.http.app import OPERATIONS
from evalqueue.http.callers import ApiCaller, Right, identify
from evalqueue.http.error_responses import EXPECTED_ERRORS, error_response
from evalqueue.http.events import broadcaster, streams
from evalqueue.http.events.broadcaster import POSITIONS_PER_QUEUE, Broadcaster
from evalqueue.http.events.changes import MAX_UNREAD
from evalqueue.http.events.event_log import MAX_BYTES, MAX_EVENTS, EventLog
from evalqueue.http.events.watchers import MAX_UNSENT, JobsWatcher
from evalqueue.http.models.events import JobEvent
from evalqueue.http.operations import routes
from evalqueue.http.server import serve
from evalqueue.postgres import listener, schema
from evalqueue.postgres.database import Database
from evalqueue.postgres.listener import Listener

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


class Note(JobParams, job_type="note"):
    name: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    kind: str
    id: str
    data: Any


async def events_of(reply: httpx.Response) -> AsyncIterator[Event]:
    """An event, parsed as a browser does."""
    fields: dict[str, str] = {}
    async for line in reply.aiter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Event(kind=fields["event"], id=fields["id"], data=json.loads(fields["data"]))
            fields = {}
        else:
            fields = {}


class Stream:
    """One watcher's stream of events."""

    def __init__(self, reply: httpx.Response) -> None:
        self.reply = reply
        self._events = events_of(reply)

    async def next(self, *kinds: str) -> Event:
        """The next event of these kinds; without arguments, of any kind but `queue`."""
        async with asyncio.timeout(PATIENCE):
            async for each in self._events:
                if each.kind in (kinds or ("job", "resync")):
                    return each
        raise AssertionError("the stream is over")

    async def until(self, job_id: str, **expected: Any) -> list[Event]:
        """The events of a job up to the first expected one."""
        seen: list[Event] = []
        while not seen or any(seen[-1].data[key] != value for key, value in expected.items()):
            each = await self.next()
            if each.data.get("id") == job_id:
                seen.append(each)
        return seen

    async def rest(self) -> list[Event]:
        async with asyncio.timeout(PATIENCE):
            return [each async for each in self._events]


@asynccontextmanager
async def watching(
    http: httpx.AsyncClient, path: str = "/api/events", *, after: str | None = None
) -> AsyncGenerator[Stream]:
    headers = {} if after is None else {"Last-Event-ID": after.encode()}
    async with http.stream("GET", path, headers=headers, timeout=PATIENCE) as reply:
        assert reply.status_code == 200, await reply.aread()
        yield Stream(reply)


@asynccontextmanager
async def listening(serve_api: ServeApi, **settings: Any) -> AsyncGenerator[httpx.AsyncClient]:
    """An API whose listener is ready, so that the first watcher misses no event."""
    async with serve_api(**settings) as http:
        assert (await readiness(http)).status_code == 200
        yield http


@pytest.fixture
async def api(serve_api: ServeApi) -> AsyncGenerator[httpx.AsyncClient]:
    async with listening(serve_api) as http:
        yield http


@pytest.fixture
def serve_as(database: Database) -> ServeApi:
    """Serve the API to a caller who sees only their own jobs."""

    @asynccontextmanager
    async def serving(name: str) -> AsyncGenerator[httpx.AsyncClient]:
        client = Client(database=database, job_types=[Note], settings=Settings())
        broadcaster = Broadcaster(client)
        app = Starlette(
            routes=routes(OPERATIONS, client, broadcaster),
            exception_handlers=dict.fromkeys(EXPECTED_ERRORS, error_response),
        )

        async def known(scope: Scope, receive: Receive, send: Send) -> None:
            identify(scope, ApiCaller(name=name, right=Right.READ))
            await app(scope, receive, send)

        await (await client.listener()).wait_for_proof()
        server = Loopback(known)
        await server.start()
        async with httpx.AsyncClient(
            base_url=server.url, trust_env=False, timeout=PATIENCE
        ) as http:
            yield http
        await broadcaster.aclose()
        await server.stop()
        await client.aclose()

    return serving


async def submit(database: Database, *, owner: str = "default", **params: Any) -> str:
    async with Client(database=database) as client:
        return str((await client.submit(Note(**params), owner=owner)).id)


async def execute(database: Database, statement: str, *values: Any) -> None:
    async with database.connection() as connection:
        await connection.execute(statement, values)  # pyright: ignore[reportArgumentType]


async def begin(database: Database, job_id: str) -> None:
    await execute(
        database,
        "UPDATE procrastinate_jobs SET status = 'doing'"
        " WHERE id = (SELECT task_id FROM jobs WHERE id = %s)",
        job_id,
    )


async def flush(database: Database, job_id: str, current: int, message: str = "") -> None:
    progress = json.dumps({"current": current, "total": 100, "message": message})
    await execute(database, "SELECT evalqueue_flush_job(%s, 1, %s::jsonb, 30)", job_id, progress)


async def finish(database: Database, job_id: str) -> None:
    result = '{"found": 42}'
    await execute(database, "SELECT evalqueue_finish_job(%s, 1, 'completed', %s)", job_id, result)


async def test_a_job_is_followed_from_submission_to_its_end(
    api: httpx.AsyncClient, database: Database
) -> None:
    async with watching(api) as stream:
        assert stream.reply.headers["content-type"] == "text/event-stream"
        assert stream.reply.headers["cache-control"] == "no-store"
        assert stream.reply.headers["x-accel-buffering"] == "no"
        assert "content-length" not in stream.reply.headers
        job_id = await submit(database, name="Tuesday's", text="long")
        queued = await stream.until(job_id, status="queued")
        await begin(database, job_id)
        running = await stream.until(job_id, status="running")
        await flush(database, job_id, 7, "seven")
        flushed = (await stream.until(job_id))[-1]
        await finish(database, job_id)
        over = await stream.until(job_id, status="completed")

    seen = [*queued, *running, flushed, *over]
    assert all(set(each.data) == set(JobEvent.model_fields) for each in seen)
    assert {"params", "result"}.isdisjoint(JobEvent.model_fields)
    assert queued[-1].data["name"] == "Tuesday's"
    assert flushed.data["progress"] == {"current": 7, "total": 100, "message": "seven"}
    revisions = [each.data["revision"] for each in seen]
    assert revisions == sorted(set(revisions))
    numbers = [int(each.id.rpartition("-")[2]) for each in seen]
    assert numbers == sorted(set(numbers))


async def test_the_stream_of_one_job_has_all_its_fields_and_ends_with_it(
    api: httpx.AsyncClient, database: Database
) -> None:
    job_id = await submit(database, text="long")
    async with watching(api, f"/api/jobs/{job_id}/events") as stream:
        first = await stream.next()
        await begin(database, job_id)
        await flush(database, job_id, 7)
        (*_, flushed) = await stream.until(job_id, status="running")
        while flushed.data["progress"]["current"] != 7:
            flushed = await stream.next()
        await finish(database, job_id)
        *_, last = await stream.rest()
    job = (await api.get(f"/api/jobs/{job_id}")).json()

    assert (first.data["status"], first.data["params"]["text"]) == ("queued", "long")
    assert first.id == str(first.data["revision"])
    assert last.data == job
    assert (job["status"], job["result"]) == ("completed", {"found": 42})


async def test_a_job_that_is_over_is_sent_once_and_then_not_again(
    api: httpx.AsyncClient, database: Database
) -> None:
    job_id = await submit(database)
    await api.post(f"/api/jobs/{job_id}/cancel")
    path = f"/api/jobs/{job_id}/events"

    async with watching(api, path) as stream:
        (only,) = await stream.rest()
    again = await api.get(path, headers={"Last-Event-ID": only.id})
    async with watching(api, path, after="1") as stream:
        (missed,) = await stream.rest()

    assert only.data["status"] == missed.data["status"] == "cancelled"
    assert (again.status_code, again.content) == (204, b"")  # which ends a browser's reconnecting


async def test_no_stream_outlives_a_sign_in_by_much(
    api: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream ends, and a reconnecting watcher is authenticated again."""
    monkeypatch.setattr(streams, "MAX_STREAM_SECONDS", 0.0)
    job_id = await submit(database)
    async with watching(api) as all_jobs, watching(api, f"/api/jobs/{job_id}/events") as one:
        assert [each for each in await all_jobs.rest() if each.kind == "job"] == []
        assert [each.data["status"] for each in await one.rest()] == ["queued"]


async def test_there_is_nothing_to_follow_where_there_is_no_job(api: httpx.AsyncClient) -> None:
    assert (await api.get(f"/api/jobs/{uuid4()}/events")).status_code == 404
    assert (await api.get("/api/jobs/17/events")).status_code == 422


async def test_to_ask_for_the_head_of_a_stream_is_no_watching(
    serve_api: ServeApi, database: Database
) -> None:
    job_id = await submit(database)
    async with serve_api(max_watchers=1) as http, asyncio.timeout(PATIENCE):
        for path in ("/api/events", f"/api/jobs/{job_id}/events", "/api/events"):
            assert (await http.head(path)).headers["content-type"] == "text/event-stream"


async def test_changes_that_come_fast_are_sent_as_one(
    api: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They are fast, however slow this machine is.
    monkeypatch.setattr(broadcaster, "PAUSE_SECONDS", 1.0)
    job_id = await submit(database)
    await begin(database, job_id)
    loop = asyncio.get_running_loop()
    async with watching(api) as stream:
        began = loop.time()
        for current in range(1, 101):
            await flush(database, job_id, current)
        seen = await stream.until(job_id, revision=await revision(database, job_id))
        took = loop.time() - began

    currents = [each.data["progress"]["current"] for each in seen]
    assert currents == sorted(set(currents))
    assert currents[-1] == 100
    assert len(currents) <= 2 + took


async def revision(database: Database, job_id: str) -> int:
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT revision FROM jobs WHERE id = %s", [job_id])
        row = await cursor.fetchone()
    assert row is not None
    return row[0]


async def test_a_client_that_reconnects_receives_exactly_what_came_since(
    api: httpx.AsyncClient, database: Database
) -> None:
    async with watching(api) as other:
        async with watching(api) as stream:
            first = await submit(database)
            known = await stream.next()
        missed: list[str] = []
        for number in range(3):
            missed.append(await submit(database, name=str(number)))
            await other.until(missed[-1])  # events that are read together come in any order
        async with watching(api, after=known.id) as stream:
            replayed = [await stream.next() for _ in missed]
            new = await submit(database)
            following = await stream.next()

    assert known.data["id"] == first
    assert [each.data["id"] for each in replayed] == missed
    assert (following.kind, following.data["id"]) == ("job", new)


@pytest.mark.parametrize("unknown", ["17", "ffffffff-3", "-", "x" * 100, "ffffffff-²"])
async def test_a_client_with_an_unknown_id_reads_everything_again(
    api: httpx.AsyncClient, database: Database, unknown: str
) -> None:
    async with watching(api, after=unknown) as stream:
        first = await stream.next()
        job_id = await submit(database)
        second = await stream.next()

    assert (first.kind, first.data) == ("resync", {})
    assert (second.kind, second.data["id"]) == ("job", job_id)
    async with watching(api, after=first.id) as stream:
        assert (await stream.next()).data["id"] == job_id


async def test_a_gap_in_listening_is_announced_and_nothing_is_lost(
    api: httpx.AsyncClient, database: Database, dsn: str
) -> None:
    job_id = await submit(database)
    async with (
        watching(api) as all_jobs,
        watching(api, f"/api/jobs/{job_id}/events") as one_job,
    ):
        await one_job.next()
        with psycopg.connect(dsn, autocommit=True) as connection:
            # Notifications sent before the reconnect are lost.
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            )
            connection.execute("SELECT evalqueue_cancel_job(%s)", [job_id])
        again = await all_jobs.next("resync")
        *_, last = await one_job.rest()
        new = await submit(database)
        following = await all_jobs.until(new)

    assert again.data == {}
    assert last.data["status"] == "cancelled"
    assert following


async def test_a_server_that_is_restarted_loses_no_end(
    serve_api: ServeApi, database: Database
) -> None:
    job_id = await submit(database)
    await begin(database, job_id)
    async with listening(serve_api) as http:
        async with watching(http) as all_jobs, watching(http, f"/api/jobs/{job_id}/events") as one:
            seen = await one.next()
            await flush(database, job_id, 1)
            known = (await all_jobs.until(job_id))[-1]
    await finish(database, job_id)
    async with listening(serve_api) as http:
        async with watching(http, after=known.id) as all_jobs:
            assert (await all_jobs.next()).kind == "resync"
        async with watching(http, f"/api/jobs/{job_id}/events", after=seen.id) as one:
            (last,) = await one.rest()

    assert last.data["status"] == "completed"


async def test_each_owner_sees_what_is_theirs(serve_as: ServeApi, database: Database) -> None:
    async with serve_as("anna") as http:
        others = await submit(database, owner="berta")
        async with watching(http) as stream:
            await submit(database, owner="berta")
            own = await submit(database, owner="anna")
            first = await stream.next()
            queue = await stream.next("queue")
            while queue.data["ahead"] != {own: 2}:  # there are earlier `queue` events
                assert queue.data["ahead"] == {}
                queue = await stream.next("queue")
        refused = await http.get(f"/api/jobs/{others}/events")
        async with watching(http, f"/api/jobs/{own}/events") as stream:
            assert (await stream.next()).data["id"] == own

    assert first.data["id"] == own
    assert queue.data == {"queue": "evalqueue", "ahead": {own: 2}}
    assert refused.status_code == 404


async def test_positions_are_sent_when_a_queue_moves(
    api: httpx.AsyncClient, database: Database
) -> None:
    jobs = [await submit(database) for _ in range(3)]
    async with (
        watching(api) as all_jobs,
        watching(api, f"/api/jobs/{jobs[2]}/events") as last_job,
    ):
        before = await last_job.next()
        await begin(database, jobs[0])
        queue = await all_jobs.next("queue")
        after = await last_job.next()
        await begin(database, jobs[1])
        await begin(database, jobs[2])
        while queue.data["ahead"]:
            queue = await all_jobs.next("queue")

    assert (before.data["ahead"], after.data["ahead"]) == (2, 1)
    assert before.id == after.id  # nothing of the job itself has changed
    assert queue.data == {"queue": "evalqueue", "ahead": {}}


async def test_only_the_first_positions_of_a_long_queue_are_sent(
    api: httpx.AsyncClient, database: Database
) -> None:
    await execute(database, "SELECT evalqueue_submit_job('note') FROM generate_series(1, 300)")
    async with watching(api) as stream:
        await submit(database)
        queue = await stream.next("queue")

    assert sorted(queue.data["ahead"].values()) == list(range(POSITIONS_PER_QUEUE))


async def test_too_many_changes_become_one_resync(
    api: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        broadcaster, "PAUSE_SECONDS", 1.0
    )  # events arrive faster than they are read
    async with watching(api) as stream:
        await execute(
            database,
            "SELECT evalqueue_submit_job('note') FROM generate_series(1, %s)",
            2 * MAX_UNREAD,
        )
        assert (await stream.next("resync")).data == {}
        job_id = await submit(database)
        assert await stream.until(job_id)


def logged_problems(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Warnings and errors, except the listener's timeouts on a busy machine."""
    return [
        each
        for each in caplog.records
        if each.levelno >= logging.WARNING
        and not (each.name == "evalqueue.postgres.listener" and "TimeoutError" in each.getMessage())
    ]


async def test_invalid_notifications_are_ignored(
    api: httpx.AsyncClient, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(api) as stream:
        await execute(database, "SELECT pg_notify('evalqueue_job_v1', 'no id')")
        await execute(database, "SELECT pg_notify('evalqueue_job_v1', gen_random_uuid()::text)")
        assert await stream.until(await submit(database))
    assert logged_problems(caplog) == []


async def test_a_job_that_is_deleted_ends_its_stream(
    api: httpx.AsyncClient, database: Database
) -> None:
    job_id = await submit(database)
    async with watching(api, f"/api/jobs/{job_id}/events") as stream:
        await stream.next()
        await begin(database, job_id)
        await execute(database, "DELETE FROM jobs WHERE id = %s", job_id)
        await execute(database, "SELECT pg_notify('evalqueue_job_v1', %s)", job_id)
        await stream.rest()


async def test_one_watcher_too_many_gets_retry_after(
    serve_api: ServeApi, database: Database
) -> None:
    job_id = await submit(database)
    async with listening(serve_api, max_watchers=2) as http:
        async with watching(http), watching(http, f"/api/jobs/{job_id}/events"):
            for path in ("/api/events", f"/api/jobs/{job_id}/events"):
                refused = await http.get(path)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
                assert "EVALQUEUE_MAX_WATCHERS" in refused.json()["detail"]
        await until_admitted(http)


async def until_admitted(http: httpx.AsyncClient) -> None:
    """Wait until the API accepts another watcher."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with http.stream("GET", "/api/events") as reply:
                if reply.status_code == 200:
                    return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def deaf(http: httpx.AsyncClient) -> AsyncGenerator[None]:
    """A watcher that never reads."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(peer, (http.base_url.host, http.base_url.port))
        await loop.sock_sendall(peer, b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield


async def test_a_client_that_reads_nothing_is_disconnected_and_the_others_go_on(
    serve_api: ServeApi, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [await submit(database) for _ in range(8)]
    for job_id in jobs:
        await begin(database, job_id)
    async with listening(serve_api, max_watchers=2) as http, watching(http) as stream:
        async with deaf(http):
            admitted = asyncio.create_task(until_admitted(http))
            current = 0
            while not admitted.done():
                current += 1
                for job_id in jobs:
                    await flush(database, job_id, current, "x" * 10_000)
                seen = await stream.until(jobs[-1])
                while seen[-1].data["progress"]["current"] < current:
                    seen = await stream.until(jobs[-1])
            await admitted
    assert logged_problems(caplog) == []


async def test_streams_end_with_the_server_at_once_and_without_a_word(
    serve_api: ServeApi,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Longer than any delay of a busy machine.
    monkeypatch.setattr("evalqueue.http.server.GRACE_SECONDS", 100)
    monkeypatch.setattr(streams, "STUCK_SECONDS", 100.0)
    monkeypatch.setattr(streams, "UNACKNOWLEDGED_MILLISECONDS", 100_000)
    jobs = [await submit(database) for _ in range(8)]
    for job_id in jobs:
        await begin(database, job_id)
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as open_streams:
        async with listening(serve_api) as http:
            watchers = [
                await open_streams.enter_async_context(watching(http, path))
                for path in ("/api/events", "/api/events", f"/api/jobs/{jobs[0]}/events")
            ]
            await open_streams.enter_async_context(deaf(http))
            for current in range(1, 30):
                for job_id in jobs:
                    await flush(database, job_id, current, "x" * 10_000)
            await watchers[0].until(jobs[0])
            began = loop.time()
        took = loop.time() - began

    # httpx closes its connections at exit, but not those of open streams.
    assert took < 50
    assert logged_problems(caplog) == []


async def test_a_process_that_listens_stays_ready_while_it_checks_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a worker whose heartbeat comes during a check would be shown as not listening."""
    monkeypatch.setattr(listener, "PING_INTERVAL", 0.0)
    monkeypatch.setattr(listener, "PING_TIMEOUT", PATIENCE)
    async with Listener(database, []) as listening:
        await listening.wait_for_proof()
        received: set[bool] = set()
        for _ in range(200):
            await asyncio.sleep(0.001)
            received.add(listening.is_listening)

    assert received == {True}


async def test_watching_holds_no_connection_to_postgres(
    serve_api: ServeApi, database: Database, dsn: str
) -> None:
    job_id = await submit(database)
    async with listening(serve_api) as http, contextlib.AsyncExitStack() as streams:
        for _ in range(15):
            for path in ("/api/events", f"/api/jobs/{job_id}/events"):
                await streams.enter_async_context(watching(http, path))
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone()
    assert row is not None
    assert row[0] <= database.pool.max_size + 1


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    home = temporary_home("evalqueue-events-")
    server = Server(home)
    await server.start()
    yield server
    await server.stop()
    shutil.rmtree(home, ignore_errors=True)


async def test_watchers_outlive_a_restart_of_postgres(server: Server) -> None:
    database = Database(server.address("postgres"))
    await database.open()
    await schema.migrate(database)
    client = Client(database=database, settings=Settings(port=0))
    job_id = await submit(database)
    async with (
        serve(client) as address,
        httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        assert (await readiness(http)).status_code == 200
        async with watching(http) as all_jobs, watching(http, f"/api/jobs/{job_id}/events") as one:
            await one.next()
            async with server.outage(Stopping.IMMEDIATE):
                refused = await http.get(f"/api/jobs/{job_id}/events", timeout=PATIENCE)
                assert refused.status_code == 503
            async with await psycopg.AsyncConnection.connect(database.conninfo) as connection:
                await connection.execute("SELECT evalqueue_cancel_job(%s)", [job_id])
            await all_jobs.next("resync")
            *_, last = await one.rest()
    await client.aclose()
    await database.close()

    assert last.data["status"] == "cancelled"


# The log of events


def test_an_event_log_holds_the_latest_events_and_no_more() -> None:
    event_log = EventLog()
    ids = [event_log.add_job(uuid4(), "a", b"{}").event_id for _ in range(MAX_EVENTS + 10)]

    assert event_log.since(ids[-1]) == []
    assert [each.event_id for each in event_log.since(ids[-4]) or ()] == ids[-3:]
    assert len(event_log.since(ids[9]) or ()) == MAX_EVENTS
    assert event_log.since(ids[8]) is None
    assert EventLog().since(ids[-1]) is None
    for _ in range(5):
        last = event_log.add_job(uuid4(), "a", b"x" * (MAX_BYTES // 4))
    assert event_log.since(ids[-1]) is None
    assert event_log.since(last.event_id) == []


async def test_a_client_that_lags_behind_reads_again_instead_of_filling_memory() -> None:
    event_log = EventLog()
    watcher = JobsWatcher(visible_owner=None, starts_after=None)
    await watcher.take()
    jobs = [uuid4() for _ in range(MAX_UNSENT)]
    for job_id in [*jobs, *reversed(jobs)]:
        watcher.add([event_log.add_job(job_id, "a", b"{}")])
    whole = await watcher.take()
    numbers = [int(each) for each in re.findall(rb"id: \w+-(\d+)", whole)]
    for job_id in [*jobs, uuid4(), jobs[0]]:
        watcher.add([event_log.add_job(job_id, "a", b"{}")])
    short = await watcher.take()

    # The latest event of each job, in order, so that a watcher can resume after any of them.
    assert numbers == list(range(MAX_UNSENT + 1, 2 * MAX_UNSENT + 1))
    assert short.startswith(b"event: resync")
    assert short.count(b"event: job") == 1
