"""The client in a browser: upload progress, hidden tabs, origins."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from chromium import chromium
from playwright.async_api import Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from evalqueue.evaluators.simulated.loopback import Loopback
from evalqueue.http.headers import PAGE_HEADERS
from evalqueue.http.routes import page

JOB: dict[str, Any] = {
    "id": "5b9b4f0e-5f7e-4c57-9d4f-0d8a51b7a0c1",
    "job_type": "evaluate-batch",
    "status": "running",
    "params": {},
    "result": None,
    "progress": {"current": 1, "total": 2, "message": "1/2"},
    "revision": 1,
}


class Api:
    """The routes of the API that these tests use."""

    def __init__(self) -> None:
        self.streams = 0
        self.reads_on = asyncio.Event()
        self.reads_on.set()
        self.authorization: str | None = None

    async def document(self, _request: Request) -> Response:
        return HTMLResponse(
            '<!doctype html><link rel="icon" href="data:,"><title>test</title>',
            headers=PAGE_HEADERS,
        )

    async def upload(self, request: Request) -> Response:
        self.authorization = request.headers.get("authorization")
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            await self.reads_on.wait()
        if size < 1_000:
            problem = {"loc": ["body", "file"], "msg": "No date", "type": "bad_row"}
            return JSONResponse({"detail": [problem]}, 422, headers={"Retry-After": "7"})
        return JSONResponse({"id": "sha256:x", "size_bytes": size}, 201)

    async def events(self, _request: Request) -> Response:
        async def stream() -> AsyncGenerator[str]:
            self.streams += 1
            try:
                yield f"event: job\ndata: {json.dumps(JOB | {'revision': self.streams})}\n\n"
                while True:
                    yield ": still here\n\n"
                    await asyncio.sleep(0.05)
            finally:
                self.streams += 100

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def jobs(self, _request: Request) -> Response:
        return JSONResponse([JOB])


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
async def tab(api: Api) -> AsyncGenerator[Page]:
    """A page of the server, with the client loaded as `client`."""
    server = Loopback(
        Starlette(
            routes=[
                Route("/", api.document),
                Route("/api/datasets", api.upload, methods=["POST"]),
                Route("/api/jobs", api.jobs),
                Route("/api/jobs/{id}/events", api.events),
                *page.routes()[1:],
            ]
        )
    )
    await server.start()
    async with chromium() as browser:
        opened = await browser.new_page()
        await opened.goto(server.url)
        await opened.evaluate(
            "import('/assets/client/index.js').then((client) => { window.client = client; })"
        )
        yield opened
    await server.stop(at_once=True)


async def test_the_page_s_own_jobs_are_where_it_comes_from(tab: Page) -> None:
    assert await tab.evaluate("client.jobsApi.list()") == [JOB]


async def test_an_upload_says_how_far_it_is(tab: Page, api: Api) -> None:
    api.reads_on.clear()
    await tab.evaluate("""() => {
        const file = new File([new Uint8Array(50_000_000)], "a.csv"); // more than sockets hold
        const received = [];
        const onProgress = (sent, total) => {
            received.push([sent, total]);
            if (sent > 0 && sent < total) document.title = "on its way";
        };
        window.upload = client.createClient({ token: "abc" }).datasets.upload(file, { onProgress })
            .then((dataset) => ({ received, size: file.size, dataset }));
    }""")
    await expect(tab).to_have_title("on its way")
    api.reads_on.set()
    received = await tab.evaluate("upload")
    sent = [each for each, _ in received["received"]]
    assert received["dataset"]["size_bytes"] > received["size"]
    assert sent[0] == 0
    assert sent[-1] == received["size"]
    assert sent == sorted(sent)
    assert all(total == received["size"] for _, total in received["received"])
    assert api.authorization == "Bearer abc"


async def test_an_upload_that_is_refused_says_why(tab: Page) -> None:
    error = await tab.evaluate("""() => client.createClient().datasets
        .upload(new Blob(["x"]), { onProgress() {} })
        .catch((error) =>
            [error instanceof client.ApiError, error.status, error.detail, error.retryAfter])
    """)
    assert error == [True, 422, "body.file: No date", 7]


async def test_an_upload_can_be_given_up(tab: Page, api: Api) -> None:
    api.reads_on.clear()
    names = await tab.evaluate("""async () => {
        const names = [];
        for (const more of [{ onProgress() {} }, {}]) {
            const controller = new AbortController();
            setTimeout(() => controller.abort(), 100);
            const file = new Blob([new Uint8Array(200_000_000)]);
            await client.createClient().datasets
                .upload(file, { ...more, signal: controller.signal })
                .catch((error) => names.push(error.name));
        }
        return names;
    }""")
    api.reads_on.set()
    assert names == ["AbortError", "AbortError"]


async def test_a_hidden_tab_closes_its_stream(tab: Page, api: Api) -> None:
    await tab.evaluate("""() => {
        let hidden = false;
        Object.defineProperty(document, "hidden", { get: () => hidden });
        window.hide = (value) => {
            hidden = value;
            document.dispatchEvent(new Event("visibilitychange"));
        };
        window.states = [];
        let seen = 0;
        window.watch = client.createClient().watch("5b9b4f0e-5f7e-4c57-9d4f-0d8a51b7a0c1",
            () => { document.title = `seen ${++seen}`; },
            { onState: (state) => states.push(state) });
    }""")
    await expect(tab).to_have_title("seen 1")
    await tab.evaluate("hide(true)")
    async with asyncio.timeout(60):
        while api.streams < 100:
            await asyncio.sleep(0.01)
    await tab.evaluate("hide(false)")
    await expect(tab).to_have_title("seen 2")
    assert await tab.evaluate("states") == ["live", "paused", "live"]
    assert (
        await tab.evaluate("watch.stop() ?? watch.done.catch(({ name }) => name)") == "AbortError"
    )
