"""The API over HTTP: uvicorn on loopback in the test's event loop, and a real Postgres."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import Field

from evalqueue import Client, JobParams, Settings
from evalqueue.errors import InvalidParams
from evalqueue.evaluators.runs.params import RunParams
from evalqueue.http.routes.health import REQUIRED_CHECKS
from evalqueue.http.server import serve
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Database
from evalqueue.tokens import Right, Token, digest_of

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

PATIENCE = 60.0
"""Seconds that a test waits for a condition. Server and client share an event loop on a machine
that may be busy, for which httpx's five seconds are too short."""

WITHOUT_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of servers on loopback: httpx would load all certificate authorities for each."""

TOKENS = {name: f"the-token-of-{name}" for name in ("rita", "sam", "ada")} | {
    "otto": "s3cret-ünïcode"
}
"""The token of each caller."""

RIGHTS = {"rita": Right.READ, "sam": Right.SUBMIT, "otto": Right.SUBMIT, "ada": Right.ADMIN}


def entry(name: str, right: Right, token: str) -> str:
    """An entry of EVALQUEUE_API_TOKENS."""
    return Token(name=name, right=right, digest=digest_of(token.encode())).entry


ENTRIES = ", ".join(entry(name, RIGHTS[name], token) for name, token in TOKENS.items())


def bearer(token: str) -> dict[bytes, bytes]:
    """The authorization header of a token."""
    return {b"Authorization": f"Bearer {token}".encode()}


class Note(JobParams, job_type="note"):
    """A plain job type."""

    text: str = ""
    weight: float | None = Field(None, ge=0)
    anything: Any = None


class EvaluateTest(RunParams, job_type="evaluate-test"):
    """A job type whose jobs have a run."""

    app_id: str
    name: str | None = None
    data_path: str | None = None

    async def admit(self, admission: AdmissionContext) -> "EvaluateTest":
        if self.data_path == "missing.csv":
            raise InvalidParams.of("data_path", "There is no such file")
        return self


class Broken(JobParams, job_type="broken"):
    """A job type whose validation has a bug."""

    async def admit(self, admission: AdmissionContext) -> "Broken":
        raise ZeroDivisionError("the secret of the handler")


async def readiness(http: httpx.AsyncClient, **otherwise: bool) -> httpx.Response:
    """Wait until the checks of `/readyz` are as expected (OK, except those given).

    A check has a short timeout, and the first one that starts to listen is slow, so the request is
    repeated on a busy machine.
    """
    expected = dict.fromkeys(REQUIRED_CHECKS, True) | otherwise
    body = "nothing"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while True:
                reply = await http.get("/readyz")
                body = reply.text
                if {each["name"]: each["ok"] for each in reply.json()["checks"]} == expected:
                    return reply
                await asyncio.sleep(0.05)
    raise AssertionError(f"not {expected}, last: {body}")


@pytest.fixture
def serve_api(database: Database) -> ServeApi:
    """Serve the API with some settings; yields a client for it."""

    @asynccontextmanager
    async def serving(**settings: Any) -> AsyncGenerator[httpx.AsyncClient]:
        client = Client(
            job_types=[Note, EvaluateTest, Broken],
            settings=Settings(**{"port": 0} | settings),
            database=database,
        )
        async with (
            serve(client) as address,
            httpx.AsyncClient(
                base_url=address.url, trust_env=False, timeout=PATIENCE, verify=WITHOUT_TLS
            ) as http,
        ):
            yield http

    return serving


@pytest.fixture
async def api(serve_api: ServeApi) -> AsyncGenerator[httpx.AsyncClient]:
    """The API with default settings."""
    async with serve_api() as http:
        yield http
