"""Authentication, body limits, and the security headers of every reply."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.http.conftest import ENTRIES, PATIENCE, TOKENS

from evalqueue import Client, Settings
from evalqueue.http.app import OPERATIONS, create_app
from evalqueue.postgres.database import Database

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
NOTE = {"job_type": "note"}
TOKEN = TOKENS["otto"]


async def raw(http: httpx.AsyncClient, request: bytes) -> bytes:
    """The server's reply to exactly these bytes."""
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    writer.write(request)
    async with asyncio.timeout(PATIENCE):
        reply = await reader.readuntil(b"\r\n\r\n")
        length = int(reply.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        reply += await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()
    return reply


async def test_a_foreign_host_name_is_refused(api: httpx.AsyncClient) -> None:
    for host in (
        "evil.example", "evil.example:8721", "127.0.0.1.evil.example", "my-box", "[::1", "", "@",
        ":80",
    ):  # fmt: skip
        reply = await api.get("/api/jobs", headers={"Host": host})

        assert reply.status_code == 403, host
        assert "EVALQUEUE_API_TOKENS" in reply.json()["detail"]


async def test_names_of_this_machine_are_known(api: httpx.AsyncClient) -> None:
    for host in ("localhost:1", "127.0.0.1", "[::1]:8721"):
        assert (await api.get("/api/jobs", headers={"Host": host})).status_code == 200


async def test_a_request_without_a_host_is_refused(api: httpx.AsyncClient) -> None:
    assert b" 403 " in await raw(api, b"GET /api/jobs HTTP/1.0\r\n\r\n")


async def test_with_a_token_any_host_name_will_do(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=ENTRIES) as http:
        headers = {b"Host": b"evals.example", b"Authorization": f"Bearer {TOKEN}".encode()}
        assert (await http.get("/api/jobs", headers=headers)).status_code == 200


async def test_a_page_from_elsewhere_may_not_change_anything(api: httpx.AsyncClient) -> None:
    for origin in ("http://evil.example", "null", "http://[", "http://127.0.0.1"):
        reply = await api.post("/api/jobs", json=NOTE, headers={"Origin": origin})

        assert reply.status_code == 403, origin
        assert "EVALQUEUE_CORS_ORIGINS" in reply.json()["detail"]
    assert (await api.get("/api/jobs")).json() == []


async def test_our_own_pages_may_change_things(api: httpx.AsyncClient) -> None:
    origin = str(api.base_url).rstrip("/")

    reply = await api.post("/api/jobs", json=NOTE, headers={"Origin": origin})

    assert reply.status_code == 201
    assert "access-control-allow-origin" not in reply.headers


async def test_pages_of_allowed_origins_may_call_even_with_a_token(serve_api: ServeApi) -> None:
    ours, theirs = "https://ui.example", "https://evil.example"
    async with serve_api(cors_origins=(ours,), api_tokens=ENTRIES) as http:
        asked = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,traceparent",
        }
        for method in sorted({operation.method for operation in OPERATIONS}):
            asked["Access-Control-Request-Method"] = method
            leave = await http.options("/api/jobs", headers={"Origin": ours} | asked)
            assert leave.status_code == 200, method
            assert leave.headers["access-control-allow-origin"] == ours
        refused = await http.options("/api/jobs", headers={"Origin": theirs} | asked)
        assert "access-control-allow-origin" not in refused.headers

        token = {"Authorization": f"Bearer {TOKENS['sam']}"}
        taken = await http.post("/api/jobs", json=NOTE, headers={"Origin": ours} | token)
        assert taken.status_code == 201
        assert taken.headers["access-control-allow-origin"] == ours
        foreign = await http.post("/api/jobs", json=NOTE, headers={"Origin": theirs} | token)
        assert foreign.status_code == 403
        # The page must be able to read the error.
        forgotten = await http.get("/api/jobs", headers={"Origin": ours})
        assert forgotten.status_code == 401
        assert forgotten.headers["access-control-allow-origin"] == ours


async def test_without_the_token_nothing_is_shown(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=ENTRIES) as http:
        for given in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN):
            headers = {b"Authorization": given.encode()} if given else {}
            for reply in (
                await http.get("/api/jobs", headers=headers),
                await http.post("/api/jobs", json=NOTE, headers=headers),
                await http.get("/api/no-such-thing", headers=headers),
            ):
                assert reply.status_code == 401, given
                assert reply.headers["www-authenticate"].startswith("Bearer")
                assert "EVALQUEUE_API_TOKENS" in reply.json()["detail"]
                assert TOKEN not in reply.text


async def test_with_the_token_everything_works(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=ENTRIES) as http:
        headers = {b"Authorization": f"bearer {TOKEN}".encode()}
        assert (await http.post("/api/jobs", json=NOTE, headers=headers)).status_code == 201


async def test_health_and_the_document_need_no_token(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=ENTRIES) as http:
        for path in ("/", "/healthz", "/readyz", "/openapi.json"):
            assert (await http.get(path)).status_code == 200


async def test_blank_tokens_are_no_tokens(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=" ") as http:
        assert (await http.get("/api/jobs")).status_code == 200
        assert (await http.get("/api/jobs", headers={"Host": "evil.example"})).status_code == 403


async def test_the_token_is_needed_wherever_the_app_is_mounted(database: Database) -> None:
    app = create_app(Client(database=database, settings=Settings(api_tokens=ENTRIES)))
    outer = Starlette(routes=[Mount("/evals", app)])
    transport = httpx.ASGITransport(outer)
    async with httpx.AsyncClient(transport=transport, base_url="http://host.example") as http:
        assert (await http.get("/evals/api/jobs")).status_code == 401
        assert (await http.get("/evals/healthz")).status_code == 200


async def test_every_reply_tells_the_browser_to_be_careful(serve_api: ServeApi) -> None:
    async with serve_api(max_body_bytes=1024) as http:
        for reply in (
            await http.get("/healthz"),
            await http.get("/api/jobs"),
            await http.get("/nowhere"),
            await http.get("/api/jobs", headers={"Host": "evil.example"}),
            await http.post("/api/jobs", content=b"x" * 2000),
            await http.post("/api/jobs", json={"job_type": "broken"}),
        ):
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["cache-control"] == "no-store"
            assert reply.headers["content-security-policy"] == (
                "default-src 'none'; frame-ancestors 'none'"
            )
            assert reply.headers["referrer-policy"] == "no-referrer"
            assert reply.headers["cross-origin-opener-policy"] == "same-origin"
            assert reply.headers["cross-origin-resource-policy"] == "same-origin"
            assert "camera=()" in reply.headers["permissions-policy"]
            assert "strict-transport-security" not in reply.headers  # the proxy sets it


async def chunks(count: int) -> AsyncGenerator[bytes]:
    yield json.dumps(NOTE).encode()
    for _ in range(count):
        yield b" " * 1000


async def test_a_body_whose_length_is_too_much_is_refused_unread(serve_api: ServeApi) -> None:
    async with serve_api(max_body_bytes=4096) as http:
        # Only the length is sent, so the reply did not wait for the body.
        head = b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4097\r\n\r\n"
        reply = await raw(http, head)

        assert b" 413 " in reply
        assert b"EVALQUEUE_MAX_BODY_BYTES" in reply


async def test_a_body_that_grows_too_large_is_refused_while_it_arrives(serve_api: ServeApi) -> None:
    async with serve_api(max_body_bytes=4096) as http:
        headers = {"Content-Type": "application/json"}
        fits = await http.post("/api/jobs", content=chunks(4), headers=headers)
        too_much = await http.post("/api/jobs", content=chunks(500), headers=headers)

        assert fits.status_code == 201
        assert too_much.status_code == 413
        assert "EVALQUEUE_MAX_BODY_BYTES" in too_much.json()["detail"]


async def test_an_endless_body_is_refused_before_it_ends(serve_api: ServeApi) -> None:
    async with serve_api(max_body_bytes=4096) as http:
        head = b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"

        reply = await raw(http, head + b"1388\r\n" + b" " * 5000 + b"\r\n")

        assert b" 413 " in reply


async def test_a_body_of_exactly_the_limit_is_taken(serve_api: ServeApi) -> None:
    async with serve_api(max_body_bytes=4096) as http:
        body = json.dumps(NOTE).ljust(4096)
        headers = {"Content-Type": "application/json"}
        assert (await http.post("/api/jobs", content=body, headers=headers)).status_code == 201
