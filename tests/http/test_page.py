"""The page's files: only these are served, unchanged, and with ETags."""

import asyncio
import gzip
import re

import httpx
import pytest
from starlette.routing import compile_path
from tests.http.conftest import PATIENCE

from evalqueue.http.headers import ASSET_HEADERS, PAGE_HEADERS, SECURITY_HEADERS
from evalqueue.http.routes import page

ADDRESSES = [
    "/", "/new", "/new-test", "/jobs/5b9b4f0e-5f7e-4c57-9d4f-0d8a51b7a0c1", "/runs", "/runs/1",
    "/runs/1/threads/2", "/runs/1/compare/2", "/runs/1/cases/c-1",
    "/runs/1/annotation", "/annotation/1",
    "/datasets", "/datasets/sha256:1",
    "/apps", "/apps/my-bot", "/apps/my-bot/edit", "/new-app", "/workers",
]  # fmt: skip
FILES = sorted(
    path.relative_to(page.FOLDER).as_posix()
    for path in page.FOLDER.rglob("*")
    if path.is_file() and path.suffix in page.MEDIA_TYPES
)


@pytest.mark.parametrize("address", ADDRESSES)
async def test_every_address_of_the_page_is_the_same_document(
    api: httpx.AsyncClient, address: str
) -> None:
    reply = await api.get(address)
    assert reply.status_code == 200
    assert reply.content == (page.FOLDER / "index.html").read_bytes()
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert PAGE_HEADERS.items() <= known_headers(reply).items()


def known_headers(reply: httpx.Response) -> dict[str, str]:
    """The page's headers of a reply; asserts that no header is repeated."""
    names = [name.lower() for name, _ in reply.headers.raw]
    assert len(names) == len(set(names))
    known = (*PAGE_HEADERS, *ASSET_HEADERS)
    return {name: reply.headers[name] for name in known if name in reply.headers}


async def test_a_page_may_run_its_own_scripts_and_its_files_may_do_nothing(
    api: httpx.AsyncClient,
) -> None:
    for address, headers in (
        ("/", PAGE_HEADERS),
        ("/assets/index.html", ASSET_HEADERS),
        ("/assets/icon.svg", ASSET_HEADERS),
        ("/assets/app.js", ASSET_HEADERS),
        ("/assets/nothing.js", SECURITY_HEADERS),
    ):
        for method in ("GET", "HEAD"):
            reply = await api.request(method, address)
            assert known_headers(reply) == headers, address
            if tag := reply.headers.get("etag"):
                again = await api.request(method, address, headers={"If-None-Match": tag})
                assert again.status_code == 304
                assert known_headers(again) == headers, address

    policies = {each["Content-Security-Policy"] for each in (ASSET_HEADERS, SECURITY_HEADERS)}
    assert policies == {"default-src 'none'; frame-ancestors 'none'"}
    assert PAGE_HEADERS["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types lit-html"
    )
    for headers in (PAGE_HEADERS, ASSET_HEADERS):
        assert headers["Cache-Control"] == "no-cache"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "camera=()" in headers["Permissions-Policy"]


def test_these_are_all_its_addresses() -> None:
    for path in page.PATHS:
        assert any(compile_path(path)[0].match(address) for address in ADDRESSES)


async def test_a_missing_path_is_answered_in_json(api: httpx.AsyncClient) -> None:
    for path in ("/api/nothing", "/nothing", "/assets/nothing.js"):
        reply = await api.get(path)
        assert reply.status_code == 404
        assert reply.json()["detail"]


async def test_the_page_can_only_be_read(api: httpx.AsyncClient) -> None:
    assert (await api.post("/runs")).status_code == 405
    assert (await api.post("/assets/index.html")).status_code == 405


async def test_every_file_of_it_is_an_asset(api: httpx.AsyncClient) -> None:
    for name in FILES:
        for coding in ("identity", "gzip"):
            asked = {"Accept-Encoding": coding}
            reply = await api.get(f"/assets/{name}", headers=asked)
            assert reply.status_code == 200, name
            assert reply.content == (page.FOLDER / name).read_bytes()
            assert reply.headers["content-security-policy"] == (
                "default-src 'none'; frame-ancestors 'none'"
            )
            tag = reply.headers["etag"]
            assert re.fullmatch(r'"[0-9a-f]{32}(-gzip)?"', tag)
            again = await api.get(
                f"/assets/{name}", headers=asked | {"If-None-Match": f'"x", {tag}'}
            )
            assert again.status_code == 304
            assert again.content == b""
            assert again.headers["etag"] == tag


async def test_scripts_are_compressed_for_those_who_ask(api: httpx.AsyncClient) -> None:
    path = "/assets/vendor/virtual-core/index.js"
    sizes = dict[str, int]()
    for asked in ("identity", "gzip", "br, GZIP;q=0.5", "gzip;q=0", "x-gzip"):
        async with api.stream("GET", path, headers={"Accept-Encoding": asked}) as reply:
            body = b"".join([chunk async for chunk in reply.aiter_raw()])
        sizes[asked] = len(body)
        is_gzip = reply.headers.get("content-encoding") == "gzip"
        assert is_gzip == (asked in {"gzip", "br, GZIP;q=0.5"})
        assert (gzip.decompress(body) if is_gzip else body) == (
            page.FOLDER / "vendor/virtual-core/index.js"
        ).read_bytes()
        assert reply.headers["vary"] == "Accept-Encoding"
        assert reply.headers["content-type"] == "text/javascript; charset=utf-8"
    assert sizes["gzip"] < sizes["identity"] / 3


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../page.py", "/assets/..%2fpage.py", "/assets/%2e%2e/page.py", "/assets/",
        "/assets//etc/passwd", "/assets/%2fetc%2fpasswd", "/assets/vendor", "/assets/vendor/",
        "/assets/vendor/../index.html", "/assets/./index.html", "/assets/index.html/",
        "/assets/index.html%00.js", "/assets/.hidden.js", "/assets/..%5cpage.py",
        "/assets/" + "a" * 5000 + ".js", "/assets/" + "a/" * 3000 + "b.js",
    ],
)  # fmt: skip
async def test_nothing_else_is_an_asset(api: httpx.AsyncClient, path: str) -> None:
    reader, writer = await asyncio.open_connection(api.base_url.host, api.base_url.port)
    writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE):
        status = await reader.readline()
    writer.close()
    assert status.split()[1] == b"404"


async def test_a_head_request_is_answered_without_the_file(api: httpx.AsyncClient) -> None:
    reply = await api.head("/assets/index.html")
    assert reply.status_code == 200
    assert reply.content == b""
    assert reply.headers["etag"]
