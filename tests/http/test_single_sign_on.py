"""Single sign-on with a real identity provider over HTTP: who gets in, and as whom."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import ValidationError
from scraping import free_ports
from tests.http.conftest import ENTRIES, TOKENS, bearer

from evalqueue.http.guards.sessions import COOKIE, SECURE_COOKIE
from evalqueue.postgres.database import Database
from evalqueue.settings import Settings
from evalqueue.tokens import Right, parse_claim_rules, right_by_claims

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

PEOPLE = [
    {"sub": "1", "email": "ada@example.com", "email_verified": True, "groups": ["admins"]},
    {"sub": "2", "email": "Sam@Example.com", "email_verified": True, "groups": ["data"]},
    {"sub": "3", "email": "eve@example.com", "email_verified": False},
    {"sub": "4", "email": "max@elsewhere.com", "email_verified": True},
    {"sub": "5", "email": "<b>@example.com", "email_verified": True},
    {"sub": "6"},
]
RIGHTS = "admin:groups=admins submit:email=*@example.com"


@pytest.fixture(scope="module")
def issuer() -> Generator[str]:
    """The address of an identity provider that knows some people."""
    (port,) = free_ports(1)
    claims = [f"--user-claims={json.dumps(each)}" for each in PEOPLE]
    provider = Path(sys.executable).with_name("oidc-provider-mock")
    address = f"http://localhost:{port}"
    with subprocess.Popen(
        [provider, f"--port={port}", "--require-nonce=true", *claims],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        while True:
            try:
                httpx.get(f"{address}/.well-known/openid-configuration", trust_env=False)
                break
            except httpx.ConnectError:
                assert process.poll() is None, "it has ended"
                time.sleep(0.05)
        yield address
        process.terminate()


def settings_of(issuer: str, **others: object) -> dict[str, object]:
    return {
        "oidc_issuer": issuer, "oidc_client_id": "evalqueue", "oidc_client_secret": "s3cret",
        "oidc_rights": RIGHTS, "public_url": "http://localhost:8721", **others,
    }  # fmt: skip


@pytest.fixture
async def guarded(serve_api: ServeApi, issuer: str) -> AsyncGenerator[httpx.AsyncClient]:
    """The API with tokens and single sign-on."""
    async with serve_api(api_tokens=ENTRIES, **settings_of(issuer)) as http:
        yield http


async def begun(http: httpx.AsyncClient, path: str = "/sign-in") -> str:
    """The address at the provider; the client keeps the cookie."""
    reply = await http.get(path)
    assert reply.status_code == 303, reply.text
    return reply.headers["location"]


async def agreed(address: str, sub: str) -> str:
    """Signs somebody in at the provider; the path by which the browser comes back."""
    async with httpx.AsyncClient(trust_env=False) as browser:
        reply = await browser.post(address, data={"sub": sub})
    assert reply.status_code in (302, 303), reply.text
    back = urlsplit(reply.headers["location"])
    return f"{back.path}?{back.query}"


async def signed_in(http: httpx.AsyncClient, sub: str, path: str = "/sign-in") -> httpx.Response:
    return await http.get(await agreed(await begun(http, path), sub))


async def test_people_sign_in_with_the_right_that_their_claims_give(
    guarded: httpx.AsyncClient,
) -> None:
    for sub, name, right in (("1", "ada@example.com", "admin"), ("2", "Sam@Example.com", "submit")):
        guarded.cookies.clear()
        reply = await signed_in(guarded, sub, "/sign-in?next=/runs%3Fsearch%3Dx")
        session = await guarded.get("/api/session")

        assert (reply.status_code, reply.headers["location"]) == (303, "/runs?search=x")
        assert session.json() == {"name": name, "right": right, "needs_token": True}
        assert (await guarded.get("/api/jobs")).status_code == 200


async def test_the_request_at_the_provider_is_bound_to_this_browser(
    guarded: httpx.AsyncClient,
) -> None:
    asked = parse_qs(urlsplit(await begun(guarded)).query)

    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == ["http://localhost:8721/sign-in/callback"]
    assert asked.keys() >= {"state", "nonce", "code_challenge"}
    back = await agreed(await begun(guarded), "1")
    guarded.cookies.clear()  # another browser
    assert (await guarded.get(back)).status_code == 403
    assert COOKIE not in guarded.cookies


async def test_a_way_back_can_be_taken_once(guarded: httpx.AsyncClient) -> None:
    back = await agreed(await begun(guarded), "1")
    state = dict(guarded.cookies)
    assert (await guarded.get(back)).status_code == 303
    guarded.cookies.clear()
    for name, value in state.items():
        guarded.cookies.set(name, value)

    assert (await guarded.get(back)).status_code == 403
    assert COOKIE not in guarded.cookies


@pytest.mark.parametrize(
    ("sub", "reason"),
    [
        ("3", "not verified"), ("4", "has no right here"), ("5", "names you by something else"),
        ("6", "names you by something else"),
    ],
)  # fmt: skip
async def test_others_are_refused_with_the_reason(
    guarded: httpx.AsyncClient, sub: str, reason: str
) -> None:
    reply = await signed_in(guarded, sub)

    assert reply.status_code == 403
    assert reason in reply.text
    assert "<b>" not in reply.text
    assert COOKIE not in guarded.cookies


@pytest.mark.parametrize(
    "query", ["", "?code=x", "?code=x&state=y", "?error=access_denied&state=y"]
)
@pytest.mark.parametrize(
    "state", ["", "e30=", "bm8=", "eyJfc3RhdGVfcHJvdmlkZXJfeSI6IDV9", "é", "x" * 3000]
)
async def test_whatever_comes_back_is_refused_and_no_error_of_the_server(
    guarded: httpx.AsyncClient, query: str, state: str
) -> None:
    headers = {b"Cookie": f"evalqueue_sign_in={state}".encode("latin-1")}
    reply = await guarded.get(f"/sign-in/callback{query}", headers=headers)

    assert reply.status_code == 403


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\nb", "/\x00"]
)
async def test_nobody_is_sent_elsewhere(guarded: httpx.AsyncClient, path: str) -> None:
    reply = await signed_in(guarded, "1", str(httpx.URL("/sign-in", params={"next": path})))

    assert reply.headers["location"] == "/"


async def test_signing_out_ends_the_session(guarded: httpx.AsyncClient, database: Database) -> None:
    await signed_in(guarded, "1")
    cookie = {"Cookie": f"{COOKIE}={guarded.cookies[COOKIE]}"}
    origin = {"Origin": str(guarded.base_url).rstrip("/")}
    assert (await guarded.delete("/api/session", headers=origin)).status_code == 200

    guarded.cookies.clear()
    assert (await guarded.get("/api/jobs", headers=cookie)).status_code == 401
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM api_sessions")
        assert await cursor.fetchone() == (0,)


async def test_over_tls_and_under_a_path_the_cookies_are_as_strict(
    serve_api: ServeApi, issuer: str
) -> None:
    public = "https://evals.example/evalqueue"
    async with serve_api(root_path="/evalqueue", **settings_of(issuer, public_url=public)) as http:
        reply = await http.get("/sign-in")
        state = SimpleCookie(reply.headers["set-cookie"])["__Secure-evalqueue_sign_in"]
        back = await agreed(reply.headers["location"], "1")
        headers = {"Cookie": f"{state.key}={state.value}"}
        reply = await http.get(back.removeprefix("/evalqueue"), headers=headers)
        cookies = SimpleCookie("; ".join(reply.headers.get_list("set-cookie")))

    assert back.startswith("/evalqueue/sign-in/callback?")
    assert (state["secure"], state["samesite"], state["path"]) == (
        True,
        "lax",
        "/evalqueue/sign-in",
    )
    assert reply.headers["location"] == "/evalqueue/"
    session = cookies["__Secure-evalqueue_session"]
    assert (session["samesite"], session["httponly"]) == ("Strict", True)
    assert SECURE_COOKIE not in cookies


async def test_without_tokens_the_api_is_closed_all_the_same(
    serve_api: ServeApi, issuer: str
) -> None:
    async with serve_api(**settings_of(issuer)) as http:
        assert (await http.get("/api/jobs")).status_code == 401
        assert (await http.get("/api/jobs", headers=bearer(TOKENS["ada"]))).status_code == 401
        assert "data-single-sign-on" in (await http.get("/")).text
        await signed_in(http, "1")
        assert (await http.get("/api/jobs")).status_code == 200


async def test_a_provider_that_does_not_answer_is_named(serve_api: ServeApi) -> None:
    async with serve_api(**settings_of("http://localhost:9")) as http:
        reply = await http.get("/sign-in")

    assert reply.status_code == 503
    assert "http://localhost:9 does not answer" in reply.text


async def test_a_provider_that_does_not_know_this_server_is_named(
    serve_api: ServeApi, issuer: str, caplog: pytest.LogCaptureFixture
) -> None:
    """This one wants a secret of every client."""
    async with serve_api(**settings_of(issuer, oidc_client_secret=None)) as http:
        reply = await signed_in(http, "1")

    assert reply.status_code == 403
    assert "The identity provider does not know this server (invalid_client)." in reply.text
    assert "A sign-in was refused: OAuthError: invalid_client" in caplog.text


async def test_no_secret_is_logged(
    guarded: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    back = await agreed(await begun(guarded), "1")
    await guarded.get(back)
    logged = "\n".join(
        each.getMessage() for each in caplog.records if each.name.startswith("evalqueue")
    )

    assert "/sign-in/callback 303" in logged
    brought = [value for values in parse_qs(urlsplit(back).query).values() for value in values]
    for secret in ("s3cret", guarded.cookies[COOKIE], *brought):
        assert secret not in logged


@pytest.mark.parametrize(
    ("claims", "right"),
    [
        ({"groups": ["x", "admins"]}, Right.ADMIN),
        ({"groups": "admins"}, Right.ADMIN),
        ({"realm": {"roles": ["judge"]}}, Right.SUBMIT),
        ({"realm": "judge"}, Right.READ),
        ({"email": "a@EXAMPLE.com", "email_verified": True}, Right.SUBMIT),
        ({"email": "a@example.com", "email_verified": "true"}, Right.READ),
        ({"email": "a@example.com.evil", "email_verified": True}, Right.READ),
        ({"groups": [{"admins": 1}, 5, None]}, Right.READ),
        ({}, Right.READ),
    ],
)
def test_the_highest_right_of_all_claims_counts(claims: dict[str, object], right: Right) -> None:
    rules = parse_claim_rules(
        "admin:groups=admins, submit:realm.roles=judge\nsubmit:email=*@example.com read:*"
    )

    assert right_by_claims(rules, claims) is right
    assert right_by_claims(rules[:-1], {}) is None


@pytest.mark.parametrize(
    "rights", ["admin", "admin:", "owner:groups=x", "admin:groups", "admin:groups=", "read:*=x"]
)
def test_wrong_rights_are_refused(rights: str) -> None:
    with pytest.raises(ValidationError, match=r"Entry 1 is not right:claim=value"):
        Settings(**settings_of("https://login.example", oidc_rights=rights))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"oidc_client_id": None}, "EVALQUEUE_OIDC_CLIENT_ID"),
        ({"oidc_rights": ""}, "EVALQUEUE_OIDC_RIGHTS"),
        ({"public_url": None}, "EVALQUEUE_PUBLIC_URL"),
        ({"oidc_issuer": "http://login.example"}, "https:// on both sides"),
        ({"public_url": "http://evals.example"}, "https:// on both sides"),
        ({"oidc_issuer": "login.example"}, "Write an address such as"),
        ({"public_url": "https://me:pw@evals.example"}, "Write an address such as"),
    ],
)
def test_half_a_configuration_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings(**settings_of("https://login.example") | changed)
