"""What a chatbot sent instead of an answer: administrators see it, other callers on no route.

A caller may aim an adversarial test at a service that is no chatbot, and would read it by quotes.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from uuid import UUID

import httpx
import pytest
from tests.http.conftest import ENTRIES, TOKENS, bearer

from evalqueue import Client, Settings
from evalqueue.evaluators.adversarial import store
from evalqueue.evaluators.adversarial.dialogue import EXCHANGE
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.adversarial.store import TrialAttempt
from evalqueue.evaluators.handlers import evaluation_handlers
from evalqueue.evaluators.providers.registry import ProviderSettings
from evalqueue.http.app import OPERATIONS
from evalqueue.postgres.database import Database
from evalqueue.testing import run_jobs

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

MARK = "root-password-of-the-printer"
REPLIES = {
    "an error": f"HTTP/1.1 500 Oh\r\n\r\n{MARK}",
    "a refused credential": f'HTTP/1.1 401 No\r\n\r\n{{"detail": "{MARK}"}}',
    "a redirect": f"HTTP/1.1 302 Go\r\nLocation: http://10.0.0.1/{MARK}\r\n\r\n",
    "a page": f"HTTP/1.1 200 OK\r\n\r\n<html>{MARK}</html>",
    "other JSON": f'HTTP/1.1 200 OK\r\n\r\n{{"{MARK}": 1}}',
    "another protocol": f"220 {MARK} ESMTP\r\n",
    "half a head": f"HTTP/1.1 200 OK\r\nX-Key: {MARK}\r\n",
}
UNREAD = REPLIES["half a head"]
"""It ended before there was anything to read."""
QUOTING = {
    "/api/eval-runs/{run_id}/adversarial",
    "/api/eval-runs/{run_id}/adversarial/{case_id}",
    "/api/eval-runs/{run_id}/dialogues",
}
NO_STREAM_ENDS = "/api/events"
"""It has the jobs of the lists, and no end."""
REFUSED = {("/api/audit", name) for name in ("rita", "sam")} | {
    ("/api/eval-runs/{run_id}/share", "rita")
}
"""Routes that need a higher right."""
ROUTES = [
    each.path
    for each in OPERATIONS
    if each.method == "GET"
    and each.path.startswith("/api/")
    and each.path != NO_STREAM_ENDS
    and not {"{evaluation_id}", "{log_id}", "{dataset_id}", "{queue_id}", "{app_id}"}
    & set(each.path.split("/"))
]
CASE = {"opening": "Hello", "expected_behavior": "It greets", "persona": "easy"}


@asynccontextmanager
async def service(reply: str) -> AsyncGenerator[str]:
    """What is no chatbot, on loopback: the same reply to all. Yields its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply.encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aimed:
    """A test of such a service that is over."""

    job_id: UUID
    run_id: UUID
    case_id: str

    def path(self, route: str) -> str:
        return route.format(
            job_id=self.job_id, run_id=self.run_id, baseline_id=self.run_id, case_id=self.case_id
        )


async def aimed(database: Database, url: str, owner: str) -> Aimed:
    """Let a worker put a case to a service; a second conversation has no verdict yet."""
    client = Client(database=database, settings=Settings(), job_types=[EvaluateAdversarial])
    params = EvaluateAdversarial.model_validate(
        {
            "llm_provider": "simulated",
            "turn_delay_seconds": 0,
            "chatbot": {"url": url, "protocol": "openai", "model": "any"},
            "cases": [CASE, CASE | {"opening": "Good evening"}],
        }
    )
    job = await client.submit(params, owner=owner, max_attempts=1)
    await run_jobs(database.conninfo, evaluation_handlers(Settings(), ProviderSettings()))
    run_id = UUID(str(job.progress.details["run_id"]))
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT case_id, result -> 'transcript' FROM adversarial_evaluations"
            " WHERE run_id = %s LIMIT 1",
            [run_id],
        )
        ((case_id, transcript),) = await cursor.fetchall()
        place = TrialAttempt(run_id=run_id, job_id=job.id, attempt=1, case_id=case_id, trial=2)
        exchange = EXCHANGE.validate_python(transcript[-1])
        await store.begin(connection, place)
        await store.note(connection, place, replace(exchange, number=1))
    return Aimed(job_id=job.id, run_id=run_id, case_id=case_id)


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
async def test_only_administrators_see_what_a_service_sent_instead_of_an_answer(
    serve_api: ServeApi, database: Database, reply: str
) -> None:
    async with service(reply) as url:
        of = {name: await aimed(database, url, name) for name in ("rita", "sam", "ada")}
    quoting = {name: set[str]() for name in of}
    async with serve_api(api_tokens=ENTRIES) as http:
        for name, each in of.items():
            for route in ROUTES:
                found = await http.get(each.path(route), headers=bearer(TOKENS[name]))
                # Not every run can be compared, and no evaluator was tried.
                allowed = {200, 404, 422} if (route, name) not in REFUSED else {403}
                assert found.status_code in allowed, (route, found.text)
                if MARK in found.text:
                    quoting[name].add(route)
        path = of["sam"].path("/api/eval-runs/{run_id}/adversarial/{case_id}")
        case = (await http.get(path, headers=bearer(TOKENS["sam"]))).json()

    seen = set() if reply is UNREAD else QUOTING
    assert quoting == {"rita": set(), "sam": set(), "ada": seen}
    (trial,) = case["evaluations"]
    assert trial["verdict"] is None
    assert trial["error"].split(": ")[0] in {"http_error", "unreadable", "connection_lost"}
