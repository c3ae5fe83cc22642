"""Sessions of the page: signing in, what the cookie permits, and what ends it."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from http.cookies import Morsel, SimpleCookie
from typing import Any

import httpx
import pytest
from tests.http.conftest import ENTRIES, TOKENS, bearer, entry

from evalqueue.http.guards.body_limits import ANONYMOUS_BODY_BYTES
from evalqueue.http.guards.sessions import (
    COOKIE,
    SECURE_COOKIE,
    SESSION_SECONDS,
    SESSIONS_MAX,
)
from evalqueue.postgres.database import Database
from evalqueue.tokens import Right, digest_of

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
NOTE = {"job_type": "note"}


@pytest.fixture
async def guarded(serve_api: ServeApi) -> AsyncGenerator[httpx.AsyncClient]:
    """The API with tokens."""
    async with serve_api(api_tokens=ENTRIES) as http:
        yield http


def origin_of(http: httpx.AsyncClient) -> dict[str, str]:
    return {"Origin": str(http.base_url).rstrip("/")}


async def signed_in(
    http: httpx.AsyncClient, name: str = "sam", **headers: str
) -> tuple[httpx.Response, Morsel[str]]:
    """The reply to a sign-in, and its cookie; the client stores no cookies."""
    headers = origin_of(http) | headers
    reply = await http.post("/api/session", json={"token": TOKENS[name]}, headers=headers)
    http.cookies.clear()
    assert reply.status_code == 200, reply.text
    (cookie,) = SimpleCookie(reply.headers["set-cookie"]).values()
    return reply, cookie


def cookie_header(cookie: Morsel[str]) -> dict[str, str]:
    return {"Cookie": f"{cookie.key}={cookie.value}"}


async def test_a_page_signs_in_and_is_known(guarded: httpx.AsyncClient) -> None:
    reply, cookie = await signed_in(guarded, "rita")

    assert reply.json() == {"name": "rita", "right": "read", "needs_token": True}
    again = await guarded.get("/api/session", headers=cookie_header(cookie))
    assert again.json() == reply.json()
    assert (await guarded.get("/api/jobs", headers=cookie_header(cookie))).status_code == 200


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(
    guarded: httpx.AsyncClient,
) -> None:
    _, cookie = await signed_in(guarded)

    assert cookie.key == COOKIE
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert (cookie["max-age"], cookie["domain"], cookie["secure"]) == (str(12 * 3600), "", "")


async def test_by_tls_the_cookie_stays_with_tls_and_this_host(guarded: httpx.AsyncClient) -> None:
    host = {"Host": "evals.example"}
    _, cookie = await signed_in(guarded, Origin="https://evals.example", **host)

    assert cookie.key == SECURE_COOKIE == "__Host-evalqueue_session"
    assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")
    for origin, status in (("https://evals.example", 201), ("http://evals.example", 403)):
        headers = cookie_header(cookie) | host | {"Origin": origin}
        assert (await guarded.post("/api/jobs", json=NOTE, headers=headers)).status_code == status


async def test_neither_token_nor_hash_is_in_the_cookie(guarded: httpx.AsyncClient) -> None:
    _, cookie = await signed_in(guarded)

    assert len(cookie.value) == 43  # 256 random bits
    for secret in (TOKENS["sam"], digest_of(TOKENS["sam"].encode()).hex()):
        assert secret not in cookie.value


async def test_a_wrong_token_does_not_sign_in(guarded: httpx.AsyncClient) -> None:
    for token in ("wrong", TOKENS["sam"] + "x", digest_of(TOKENS["sam"].encode()).hex()):
        reply = await guarded.post("/api/session", json={"token": token})
        assert reply.status_code == 401
        assert "set-cookie" not in reply.headers
        assert token not in reply.text
    for body in ({}, {"token": ""}, {"token": "x" * 1001}, {"token": 7}):
        reply = await guarded.post("/api/session", json=body)
        assert reply.status_code == 422
        assert "x" * 1001 not in reply.text


async def test_an_anonymous_caller_can_not_send_much(guarded: httpx.AsyncClient) -> None:
    padded = b'{"token": "wrong"}'.ljust(ANONYMOUS_BODY_BYTES)
    json = {"Content-Type": "application/json"}
    for body, status in ((padded, 401), (padded + b" ", 413)):
        reply = await guarded.post("/api/session", content=body, headers=json)
        assert reply.status_code == status


async def test_a_token_that_was_copied_with_its_line_end_is_taken(
    guarded: httpx.AsyncClient,
) -> None:
    reply = await guarded.post("/api/session", json={"token": f" {TOKENS['otto']}\n"})

    assert reply.json()["name"] == "otto"


async def test_signing_out_ends_the_session_for_every_copy_of_its_cookie(
    guarded: httpx.AsyncClient, serve_api: ServeApi
) -> None:
    _, cookie = await signed_in(guarded, "rita")
    _, another = await signed_in(guarded, "rita")
    async with serve_api(api_tokens=ENTRIES) as second:  # another process of the API
        assert (await second.get("/api/jobs", headers=cookie_header(cookie))).status_code == 200
        reply = await guarded.delete(
            "/api/session", headers=cookie_header(cookie) | origin_of(guarded)
        )
        for http in (guarded, second):
            for each, status in ((cookie, 401), (another, 200)):
                answer = await http.get("/api/jobs", headers=cookie_header(each))
                assert answer.status_code == status

    assert reply.json() == {"signed_out": True}
    gone = [SimpleCookie(each) for each in reply.headers.get_list("set-cookie")]
    assert {name: each["max-age"] for one in gone for name, each in one.items()} == {
        COOKIE: "0",
        SECURE_COOKIE: "0",
    }


async def test_a_session_holds_for_twelve_hours_and_is_deleted_later(
    guarded: httpx.AsyncClient, database: Database
) -> None:
    _, cookie = await signed_in(guarded)
    for ago, status in ((SESSION_SECONDS - 60, 200), (SESSION_SECONDS + 1, 401)):
        await _execute(
            database,
            "UPDATE api_sessions SET created_at = clock_timestamp() - make_interval(secs => %s),"
            " expires_at = clock_timestamp() + make_interval(secs => %s)",
            ago, SESSION_SECONDS - ago,
        )  # fmt: skip
        reply = await guarded.get("/api/session", headers=cookie_header(cookie))
        assert reply.status_code == status, ago

    await signed_in(guarded)
    assert await _execute(database, "SELECT 1 FROM api_sessions") == 1


async def test_the_oldest_of_too_many_sessions_ends(
    guarded: httpx.AsyncClient, database: Database
) -> None:
    _, first = await signed_in(guarded)
    _, of_another = await signed_in(guarded, "rita")
    await _execute(
        database,
        "INSERT INTO api_sessions (digest, name, permission, created_at, expires_at)"
        " SELECT sha256(n::text::bytea), 'sam', 'submit', now() + n * interval '1 ms',"
        " now() + interval '1 hour' FROM generate_series(1, %s) AS n",
        SESSIONS_MAX - 1,
    )  # fmt: skip
    _, last = await signed_in(guarded)

    for cookie, status in ((first, 401), (of_another, 200), (last, 200)):
        reply = await guarded.get("/api/session", headers=cookie_header(cookie))
        assert reply.status_code == status
    assert await _execute(database, "SELECT 1 FROM api_sessions") == SESSIONS_MAX + 1


async def test_a_made_up_cookie_is_not_valid(
    guarded: httpx.AsyncClient, database: Database
) -> None:
    _, cookie = await signed_in(guarded, "ada")
    digest = sha256(cookie.value.encode()).hexdigest()
    for value in (
        cookie.value[:-1], f"{cookie.value}A", cookie.value.swapcase(), digest, TOKENS["ada"],
        "ada", "", "..", "é", "x" * 4000,
    ):  # fmt: skip
        reply = await guarded.get(
            "/api/jobs", headers={b"Cookie": f"{COOKIE}={value}".encode("latin-1")}
        )
        assert reply.status_code == 401, value


async def _execute(database: Database, statement: str, *arguments: object) -> int:
    """How many rows a statement returns or changes."""
    async with database.connection() as connection:
        return (await connection.execute(statement.encode(), arguments)).rowcount


async def test_a_session_outlives_a_restart_and_not_its_token(serve_api: ServeApi) -> None:
    before = [entry("sam", Right.SUBMIT, "old"), entry("ada", Right.ADMIN, "hers")]
    both = [*before, entry("sam", Right.SUBMIT, "new")]
    async with serve_api(api_tokens=" ".join(before)) as http:
        reply = await http.post("/api/session", json={"token": "old"}, headers=origin_of(http))
        (cookie,) = SimpleCookie(reply.headers["set-cookie"]).values()
    for entries, status in ((before, 200), (both, 200), (both[1:], 401)):
        async with serve_api(api_tokens=" ".join(entries)) as http:
            reply = await http.get("/api/session", headers=cookie_header(cookie))
            assert reply.status_code == status


async def test_a_session_has_the_right_that_its_token_has_now(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=entry("sam", Right.ADMIN, "t")) as http:
        reply = await http.post("/api/session", json={"token": "t"}, headers=origin_of(http))
        (cookie,) = SimpleCookie(reply.headers["set-cookie"]).values()
    async with serve_api(api_tokens=entry("sam", Right.READ, "t")) as http:
        reply = await http.get("/api/session", headers=cookie_header(cookie))
        assert reply.json()["right"] == "read"


async def test_a_token_in_the_header_wins_over_a_cookie(guarded: httpx.AsyncClient) -> None:
    _, cookie = await signed_in(guarded, "ada")
    as_rita = await guarded.get("/api/session", headers=_both(cookie, TOKENS["rita"]))
    as_nobody = await guarded.get("/api/session", headers=_both(cookie, "wrong"))
    basic = cookie_header(cookie) | {"Authorization": "Basic cHJveHk6cHJveHk="}
    as_ada = await guarded.get("/api/session", headers=basic)

    assert as_rita.json()["name"] == "rita"
    assert as_nobody.status_code == 401
    assert as_ada.json()["name"] == "ada"  # Basic credentials of a proxy are ignored


def _both(cookie: Morsel[str], token: str) -> dict[bytes, bytes]:
    return bearer(token) | {k.encode(): v.encode() for k, v in cookie_header(cookie).items()}


async def test_a_change_by_cookie_needs_an_origin_that_is_known(serve_api: ServeApi) -> None:
    ui = "https://ui.example"
    async with serve_api(api_tokens=ENTRIES, cors_origins=(ui,)) as http:
        _, cookie = await signed_in(http)
        own = origin_of(http)["Origin"]
        for origin, status in (
            (None, 403), ("null", 403), ("http://evil.example", 403), ("", 403),
            (own.replace("127.0.0.1", "localhost"), 403), (own, 201), (ui, 201),
        ):  # fmt: skip
            headers = cookie_header(cookie) | ({} if origin is None else {"Origin": origin})
            reply = await http.post("/api/jobs", json=NOTE, headers=headers)
            assert reply.status_code == status, origin
            if status == 403:  # the error names the setting only if there is an origin to add
                assert ("EVALQUEUE_CORS_ORIGINS" in reply.text) is (origin is not None)
        # A request with a token can't be forged by another page.
        assert (
            await http.post("/api/jobs", json=NOTE, headers=bearer(TOKENS["sam"]))
        ).status_code == 201
        assert len((await http.get("/api/jobs", headers=cookie_header(cookie))).json()) == 3


async def test_any_origin_for_tokens_is_not_any_origin_for_cookies(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=ENTRIES, cors_origins=("*",)) as http:
        _, cookie = await signed_in(http)
        foreign = {"Origin": "http://evil.example"}
        by_cookie = await http.post("/api/jobs", json=NOTE, headers=cookie_header(cookie) | foreign)
        by_token = await http.post(
            "/api/jobs", json=NOTE, headers=bearer(TOKENS["sam"]) | {b"Origin": b"http://x.example"}
        )

    assert by_cookie.status_code == 403
    assert "access-control-allow-credentials" not in by_cookie.headers
    assert by_token.status_code == 201


async def test_another_site_can_not_sign_in_a_user(guarded: httpx.AsyncClient) -> None:
    reply = await guarded.post(
        "/api/session", json={"token": TOKENS["sam"]}, headers={"Origin": "http://evil.example"}
    )

    assert reply.status_code == 403
    assert "set-cookie" not in reply.headers


async def test_without_tokens_everybody_here_is_the_admin(api: httpx.AsyncClient) -> None:
    known = {"name": "default", "right": "admin", "needs_token": False}

    assert (await api.get("/api/session")).json() == known
    signed = await api.post("/api/session", json={"token": "whatever"})
    assert (signed.json(), "set-cookie" in signed.headers) == (known, False)
    rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
    assert (await api.get("/api/session", headers=rebound)).status_code == 403
    assert (await api.post("/api/jobs", json=NOTE, headers=rebound)).status_code == 403


async def test_no_secret_is_logged_returned_or_stored(
    guarded: httpx.AsyncClient, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reply, cookie = await signed_in(guarded)
    bodies = [reply.text]
    for headers in (bearer(TOKENS["sam"]), bearer("a-wrong-guess"), cookie_header(cookie)):
        for method, path, body in (
            ("POST", "/api/jobs", {"job_type": "broken"}),  # a bug: the server logs it
            ("POST", "/api/jobs", {"job_type": "evaluate-test", "params": {"app_id": "x"}}),
            ("POST", "/api/jobs", {"job_type": "evaluate-test"}),
            ("GET", "/api/session", None),
            ("GET", "/api/jobs", None),
        ):
            sent: Any = dict(headers) | ({} if b"Authorization" in headers else origin_of(guarded))
            bodies.append((await guarded.request(method, path, json=body, headers=sent)).text)
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT jobs::text, eval_runs::text FROM jobs, eval_runs")
        rows = str(await cursor.fetchall())
        cursor = await connection.execute("SELECT name, digest, token FROM api_sessions")
        rows += str(
            [(name, *map(bytes.hex, secrets)) for name, *secrets in await cursor.fetchall()]
        )
    assert "sam" in rows
    assert caplog.text.count("ZeroDivisionError") >= 2
    # Except the log of the test's own client, which knows the secrets.
    logged = "\n".join(each.getMessage() for each in caplog.records if "http" not in each.name[:5])
    digest = digest_of(TOKENS["sam"].encode())
    for secret in (TOKENS["sam"], "a-wrong-guess", digest.hex(), repr(digest), cookie.value):
        for where in (logged, rows, *bodies):
            assert secret not in where


async def test_files_and_removals_by_cookie_need_an_origin_as_well(serve_api: ServeApi) -> None:
    """Any page can make a browser send a form with a file without a preflight request."""
    none = f"/api/datasets/sha256:{'0' * 64}"
    async with serve_api(api_tokens=ENTRIES) as http:
        _, cookie = await signed_in(http)
        own = origin_of(http)["Origin"]
        for origin, statuses in (
            (None, (403, 403, 403)), ("null", (403, 403, 403)),
            ("http://evil.example", (403, 403, 403)), (own, (422, 422, 404)),
        ):  # fmt: skip
            headers = cookie_header(cookie) | ({} if origin is None else {"Origin": origin})
            found = [
                await http.request(method, path, files=files, headers=headers)
                for method, path, files in (
                    ("POST", "/api/datasets", {"file": ("a.csv", b"nothing")}),
                    ("POST", "/api/eval-runs/preview", {"other": ("a.csv", b"nothing")}),
                    ("DELETE", none, None),
                )
            ]
            assert tuple(each.status_code for each in found) == statuses, origin
