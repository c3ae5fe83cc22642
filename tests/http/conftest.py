"""The real API over real HTTP: uvicorn on loopback in the test's own loop, and a real Postgres."""

import asyncio
import contextlib
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
"""Seconds that a test waits before it takes what it waits for as failed. Server and client share a
loop on a machine that may be busy: httpx's own five seconds are soon over."""

TOKENS = {name: f"the-token-of-{name}" for name in ("rita", "sam", "ada")} | {
    "otto": "s3cret-ünïcode"
}
"""What each caller holds."""

RIGHTS = {"rita": Right.READ, "sam": Right.SUBMIT, "otto": Right.SUBMIT, "ada": Right.ADMIN}


def entry(name: str, right: Right, token: str) -> str:
    """An entry of EVALQUEUE_API_TOKENS."""
    return Token(name=name, right=right, digest=digest_of(token.encode())).entry


ENTRIES = ", ".join(entry(name, RIGHTS[name], token) for name, token in TOKENS.items())


def bearer(token: str) -> dict[bytes, bytes]:
    """The header that shows a token."""
    return {b"Authorization": f"Bearer {token}".encode()}


class Note(JobParams, job_type="note"):
    """A job type with nothing special about it."""

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
    """A job type with a bug in it."""

    async def admit(self, admission: AdmissionContext) -> "Broken":
        raise ZeroDivisionError("the secret of the house")


async def readiness(http: httpx.AsyncClient, **otherwise: bool) -> httpx.Response:
    """What `/readyz` says when its checks come out as expected: all ok, but for those named.

    A probe is answered in time rather than at leisure, and the first that listens takes longest:
    where the machine is busy it is asked once more.
    """
    expected = dict.fromkeys(REQUIRED_CHECKS, True) | otherwise
    said = "nothing"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while True:
                reply = await http.get("/readyz")
                said = reply.text
                if {each["name"]: each["ok"] for each in reply.json()["checks"]} == expected:
                    return reply
                await asyncio.sleep(0.05)
    raise AssertionError(f"not {expected}, last: {said}")


@pytest.fixture
def serve_api(database: Database) -> ServeApi:
    """Serve the API with some settings; what comes out calls it."""

    @asynccontextmanager
    async def serving(**settings: Any) -> AsyncGenerator[httpx.AsyncClient]:
        client = Client(
            job_types=[Note, EvaluateTest, Broken],
            settings=Settings(**{"port": 0} | settings),
            database=database,
        )
        async with (
            serve(client) as address,
            httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=PATIENCE) as http,
        ):
            yield http

    return serving


@pytest.fixture
async def api(serve_api: ServeApi) -> AsyncGenerator[httpx.AsyncClient]:
    """The API as it is out of the box."""
    async with serve_api() as http:
        yield http
