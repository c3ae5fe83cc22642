"""What hostile requests cost the API, and a hostile judge a worker.

./run bench hostile [NAME…]

Each load meets an API process of its own, `evalqueue serve` with tokens for two callers: mallory,
who sends the load, and vera. A third process asks for /healthz ten times a second meanwhile, from
another address and on a new connection each time. The table has the status codes, the peak of the
process's resident memory (Linux), and what that third process saw.
"""

import asyncio
import gzip
import http.client
import json
import logging
import os
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from processes import postgres, process

from evalqueue.postgres.database import Database
from evalqueue.tokens import Right, Token, digest_of

PORT = 18741
TOKENS = {"mallory": "the-token-of-mallory", "vera": "the-token-of-vera"}
ENTRIES = ", ".join(
    Token(name=name, right=Right.SUBMIT, digest=digest_of(token.encode())).entry
    for name, token in TOKENS.items()
)
EVALQUEUE = str(Path(sys.executable).with_name("evalqueue"))
MEGABYTE = 1024**2
PATIENCE = 900.0  # seconds: uploads of one caller are read one after the other
ONE_ROW = b"thread_id,input,response\nt,q,a\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The API under a load."""

    database: Database
    pid: int

    def client(self, name: str, address: str = "127.0.0.2") -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{PORT}", timeout=PATIENCE, trust_env=False,
            headers={"Authorization": f"Bearer {TOKENS[name]}"},
            transport=httpx.AsyncHTTPTransport(local_address=address, limits=httpx.Limits()),
        )  # fmt: skip

    async def line(
        self, sent: bytes, address: str = "127.0.0.2"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which this was sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT, local_addr=(address, 0))
        writer.write(sent)
        return reader, writer

    def spool_mb(self) -> float:
        """What the process holds in files without a name."""
        held = 0
        for each in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(OSError):
                if "(deleted)" in os.readlink(each):
                    held += each.stat().st_size
        return held / MEGABYTE


def shown(statuses: Counter[Any]) -> str:
    return ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items(), key=str))


def thread_ids(megabytes: float) -> Callable[[Scene], Awaitable[str]]:
    async def load(scene: Scene) -> str:
        ids = b",".join([b"1"] * int(megabytes * MEGABYTE / 2 - 60))
        body = b'{"job_type":"evaluate-batch","params":{"total_items":1,"thread_ids":[%b]}}' % ids
        async with scene.client("mallory") as client:
            began = time.perf_counter()
            reply = await client.post(
                "/api/jobs", content=body, headers={"Content-Type": "application/json"}
            )
            took = time.perf_counter() - began
        return f"{reply.status_code} after {took:.1f} s, {len(reply.content):,} bytes"

    return load


async def newlines(scene: Scene) -> str:
    """8 uploads of newlines by one caller, and another's upload of one row."""

    async def upload(client: httpx.AsyncClient, content: bytes) -> int:
        return (await client.post("/api/datasets", files={"file": ("a.csv", content)})).status_code

    async with scene.client("mallory") as client, scene.client("vera", "127.0.0.3") as other:
        async with asyncio.TaskGroup() as tasks:
            sent = [tasks.create_task(upload(client, b"\n" * 16 * MEGABYTE)) for _ in range(8)]
            await asyncio.sleep(1)
            began = time.perf_counter()
            status = await upload(other, ONE_ROW)
            took = time.perf_counter() - began
        statuses = Counter(each.result() for each in sent)
    return f"{shown(statuses)}; vera's one row: {status} after {took:.1f} s"


async def streams(scene: Scene) -> str:
    """One token takes 1,000 event streams; another caller wants one."""
    head = "GET /api/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n"
    statuses = Counter[int]()
    lines = [await scene.line(head.format(TOKENS["mallory"]).encode()) for _ in range(1000)]
    for reader, _ in lines:
        statuses[await status_of(reader)] += 1
    other, writer = await scene.line(head.format(TOKENS["vera"]).encode(), "127.0.0.3")
    others = await status_of(other)
    for _, each in (*lines, (other, writer)):
        each.close()
    return f"{shown(statuses)}; vera's stream: {others}"


async def idle(scene: Scene) -> str:
    """2,100 connections without a token, which send nothing."""
    lines = [await scene.line(b"") for _ in range(2100)]
    await asyncio.sleep(5)
    async with scene.client("vera", "127.0.0.3") as client:
        status = (await client.get("/api/jobs")).status_code
    left = sum(not reader.at_eof() for reader, _ in lines)
    for _, each in lines:
        each.close()
    return f"{left} of 2,100 left after 5 s; vera's list: {status}"


async def large_params(scene: Scene) -> str:
    """8 jobs of 8 MB of params, over HTTP and by SQL, and then the list of jobs."""
    row = "t{},u,s,q,a,x,y,2025-01-01T00:00:00Z,0\n"
    head = "thread_id,user_id,session_id,query_text,final_response_message,intent_detected,"
    text = head + "query_type,timestamp,has_image\n"
    text += "".join(row.format(number) for number in range(8 * MEGABYTE // 40))
    statuses = Counter[int]()
    async with scene.client("mallory") as client:
        for large in ({"csv_content": text}, {"thread_ids": ["x" * 8 * MEGABYTE]}):
            for number in range(8):
                params = {"llm_provider": "simulated", "name": str(number), **large}
                body = {"job_type": "evaluate-batch", "params": params}
                statuses[(await client.post("/api/jobs", json=body)).status_code] += 1
        refused = 0
        async with scene.database.connection() as connection:
            for _ in range(8):
                try:
                    await connection.execute(
                        "SELECT evalqueue_submit_job('x', jsonb_build_object('x', repeat('x', %s)),"
                        " owner => 'mallory')",
                        [8 * MEGABYTE],
                    )
                except psycopg.DataError:
                    refused += 1
        reply = await client.get("/api/jobs")
    return f"{shown(statuses)}, by SQL {refused} refused; the list: {len(reply.content):,} bytes"


async def slow_uploads(scene: Scene) -> str:
    """500 uploads of one caller that send 64 kB a second each."""
    head = (
        "POST /api/datasets HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000000\r\n"
        f"Authorization: Bearer {TOKENS['mallory']}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    )
    lines = [await scene.line(head.encode()) for _ in range(500)]
    most = 0.0
    for _ in range(20):
        for _, writer in lines:
            if not writer.is_closing():
                writer.write(b"x" * 65_536)
        await asyncio.sleep(1)
        most = max(most, scene.spool_mb())
    async with scene.client("vera", "127.0.0.3") as client:
        reply = await client.post("/api/datasets", files={"file": ("a.csv", ONE_ROW)})
    statuses = Counter[int | str]()
    for reader, writer in lines:
        try:
            async with asyncio.timeout(0.05):
                statuses[await status_of(reader)] += 1
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            statuses["open" if isinstance(error, TimeoutError) else "closed"] += 1
        writer.close()
    return f"{shown(statuses)}; {most:.0f} MB on disk at most; vera's upload: {reply.status_code}"


async def wrong_tokens(scene: Scene) -> str:
    """20 wrong tokens from an address, and then a valid one."""
    statuses = Counter[int]()
    async with scene.client("mallory") as client:
        for number in range(20):
            headers = {"Authorization": f"Bearer wrong-{number}"}
            statuses[(await client.get("/api/jobs", headers=headers)).status_code] += 1
        valid = (await client.get("/api/jobs")).status_code
    return f"{shown(statuses)}; then the valid one: {valid}"


LOADS: dict[str, tuple[str, Callable[[Scene], Awaitable[str]]]] = {
    "thread-ids-32": ("POST of 32 MB, `thread_ids: [1,1,…]`", thread_ids(32)),
    "thread-ids-3": ("the same, 3.2 MB", thread_ids(3.2)),
    "newlines": ("8 uploads of 16 MB of newlines", newlines),
    "streams": ("1,000 event streams of one token", streams),
    "idle": ("2,100 idle connections without a token", idle),
    "params": ("8 jobs of 8 MB of params, then the list", large_params),
    "uploads": ("500 slow uploads of one caller", slow_uploads),
    "tokens": ("20 wrong tokens of one address", wrong_tokens),
}


async def status_of(reader: asyncio.StreamReader) -> int:
    return int((await reader.readuntil(b"\r\n\r\n")).split()[1])


def peak_mb(pid: int) -> float:
    """The peak of a process's resident memory (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


@asynccontextmanager
async def watching() -> AsyncGenerator[Callable[[], Awaitable[str]]]:
    """Ask for /healthz from another process. Yields what says what it saw."""
    async with process_of(sys.executable, __file__, "--watch") as child:

        async def seen() -> str:
            assert child.stdin
            assert child.stdout
            child.stdin.write(b"\n")
            latencies, failures = json.loads(await child.stdout.readline())
            p50 = sorted(latencies)[len(latencies) // 2]
            failed = f", {failures} failed" if failures else ""
            return f"{p50:.0f} / {max(latencies):.0f} ms of {len(latencies)}{failed}"

        yield seen


@asynccontextmanager
async def process_of(*command: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26
    )
    try:
        yield child
    finally:
        child.terminate()
        await child.wait()


async def watch() -> None:
    """The child process: ask until a line comes, and print the latencies."""
    latencies: list[float] = []
    failures = 0

    def ask() -> float:
        began = time.perf_counter()
        connection = http.client.HTTPConnection(
            "127.0.0.1", PORT, timeout=PATIENCE, source_address=("127.0.0.9", 0)
        )
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status != 200:
                raise OSError
        finally:
            connection.close()
        return (time.perf_counter() - began) * 1000

    over = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    while not over.done():
        try:
            latencies.append(await asyncio.to_thread(ask))
        except (OSError, http.client.HTTPException):
            failures += 1
        await asyncio.sleep(0.1)
    print(json.dumps([latencies, failures]), flush=True)


async def until_up(pid: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(httpx.TransportError):
                async with httpx.AsyncClient(trust_env=False) as client:
                    if (await client.get(f"http://127.0.0.1:{PORT}/healthz")).is_success:
                        return
            peak_mb(pid)  # it lives
            await asyncio.sleep(0.1)


async def measure(database: Database, title: str, load: Callable[[Scene], Awaitable[str]]) -> None:
    async with process(
        "sh", "-c", 'ulimit -Sn 1024; exec "$@"', "sh",  # as most systems have it
        EVALQUEUE, "serve", "--port", str(PORT), DATABASE_URL=database.conninfo,
        EVALQUEUE_API_TOKENS=ENTRIES,
    ) as child:  # fmt: skip
        await until_up(child.pid)
        scene = Scene(database=database, pid=child.pid)
        async with scene.client("vera") as client:
            await client.get("/api/jobs")
        before = peak_mb(child.pid)
        async with watching() as seen:
            await asyncio.sleep(1)
            found = await load(scene)
            await asyncio.sleep(1)
            health = await seen()
        print(f"| {title} | {found} | {before:.0f} → {peak_mb(child.pid):.0f} MB | {health} |")


@asynccontextmanager
async def judge(head: str, body: bytes = b"") -> AsyncGenerator[tuple[str, list[bytes]]]:
    """A vendor with the same answer to every request. Yields its address, and what it received."""
    received: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            received.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(f"HTTP/1.1 {head}\r\nconnection: close\r\n\r\n".encode() + body)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", received


async def judged(database: Database, title: str, vendor: str, **environment: str) -> None:
    """Let a worker judge one conversation; prints what it came to, and its peak of memory."""
    params = {"total_items": 1, "llm_provider": vendor, "llm_model": "some", "max_wait_seconds": 1}
    async with process(EVALQUEUE, "worker", DATABASE_URL=database.conninfo, **environment) as child:
        async with database.connection() as connection:
            cursor = await connection.execute(
                "SELECT evalqueue_submit_job('evaluate-batch', %s::jsonb)", [json.dumps(params)]
            )
            ((job_id,),) = await cursor.fetchall()
        async with asyncio.timeout(PATIENCE):
            while True:
                async with database.connection() as connection:
                    cursor = await connection.execute(
                        "SELECT status, error_message FROM jobs WHERE id = %s"
                        " AND completed_at IS NOT NULL",
                        [job_id],
                    )
                    if found := await cursor.fetchone():
                        break
                await asyncio.sleep(0.2)
        status, error = found
        shown = f"{status}: {(error or '')[:160]}"
        print(f"| {title} | {shown} | {peak_mb(child.pid):.0f} MB (worker) | |")


async def hostile_judges(database: Database) -> None:
    bomb = gzip.compress(bytes(1_500 * MEGABYTE))
    head = f"200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(bomb)}"
    async with judge(head, bomb) as (url, _):
        title = f"a judge's answer: {len(bomb) / MEGABYTE:.1f} MB of gzip, 1.5 GB unpacked"
        await judged(
            database, title, "openai", OPENAI_API_KEY="k" * 20, OPENAI_BASE_URL=f"{url}/v1"
        )
    async with (
        judge("200 OK\r\ncontent-length: 2", b"{}") as (elsewhere, received),
        judge(f"307 Go\r\nlocation: {elsewhere}/\r\ncontent-length: 0") as (url, asked),
    ):
        await judged(
            database, "a judge's redirect to another host, with Gemini's key", "gemini",
            GEMINI_API_KEY="g" * 20, GOOGLE_GEMINI_BASE_URL=url,
        )  # fmt: skip
        print(f"  the judge was asked {len(asked)} times, the other host {len(received)} times")


async def main(names: list[str]) -> None:
    logging.disable(logging.WARNING)  # asyncio's, of connections that the API has closed
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print("| load | answers | peak memory | /healthz meanwhile, p50 / max |\n|---|---|---|---|")
    async with postgres() as database:
        for name, (title, load) in LOADS.items():
            if not names or name in names:
                await measure(database, title, load)
        if not names or "judges" in names:
            await hostile_judges(database)


if sys.argv[1:] == ["--watch"]:
    asyncio.run(watch())
else:
    asyncio.run(main(sys.argv[1:]))
