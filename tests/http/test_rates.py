"""Rate limits of requests and of failed authentications."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.http.conftest import ENTRIES, TOKENS, bearer

from evalqueue.http.callers import address_of
from evalqueue.http.guards import rate_limits, sessions
from evalqueue.http.guards.rate_limits import RateLimiter
from evalqueue.http.guards.sessions import GUESSES
from evalqueue.settings import Rate

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_so_many_at_once_and_then_one_by_one() -> None:
    clock = Clock()
    limiter = RateLimiter(Rate(amount=3, seconds=60), now=clock)

    assert [limiter.hit("a") for _ in range(3)] == [0, 0, 0]
    assert limiter.hit("a") == pytest.approx(20)
    assert limiter.hit("b") == 0
    clock.seconds += 19.9
    assert limiter.hit("a") == pytest.approx(0.1)
    clock.seconds += 0.1001
    assert (limiter.hit("a"), limiter.hit("a") > 0) == (0, True)
    clock.seconds += 3600
    assert [limiter.hit("a") for _ in range(3)] == [0, 0, 0]


@given(
    amount=st.integers(1, 20),
    seconds=st.sampled_from([1, 60, 3600]),
    pauses=st.lists(st.floats(0, 120), max_size=100),
)
def test_an_event_is_allowed_after_its_wait_and_not_before(
    amount: int, seconds: int, pauses: list[float]
) -> None:
    clock = Clock()
    limiter = RateLimiter(Rate(amount=amount, seconds=seconds), now=clock)
    taken: list[float] = []
    for pause in pauses:
        clock.seconds += pause
        if wait := limiter.hit("a"):
            assert 0 < wait <= seconds / amount + 1e-6
            clock.seconds += wait + 1e-6
            assert limiter.hit("a") == 0
        taken.append(clock.seconds)
    for at in taken:
        assert sum(at - seconds < each <= at for each in taken) <= 2 * amount


@pytest.mark.parametrize("moment", [0.0, 0.1, 1234.5678901, 98765.4321, 3e7 / 7])
@pytest.mark.parametrize("rate", [(1, 3600), (3, 60), (7, 1), (600, 60), (6000, 60)])
def test_rounding_loses_no_event(moment: float, rate: tuple[int, int]) -> None:
    clock = Clock()
    clock.seconds = moment
    limiter = RateLimiter(Rate(amount=rate[0], seconds=rate[1]), now=clock)

    assert [limiter.hit("a") for _ in range(rate[0])] == [0] * rate[0]
    assert limiter.hit("a") > 0


def test_of_many_callers_the_quietest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_KEYS", 2)
    limiter = RateLimiter(Rate(amount=1, seconds=60))

    for key in ("a", "b", "c"):
        assert limiter.hit(key) == 0
    assert limiter.wait_seconds("a") == 0
    assert limiter.wait_seconds("c") > 0


@pytest.mark.parametrize(
    ("client", "place"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::9", 1), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (("/run/a.sock", 0), "/run/a.sock"),
        (None, "?"),
    ],
)
def test_a_place_is_an_address_or_an_ipv6_network(
    client: tuple[str, int] | None, place: str
) -> None:
    assert address_of({"client": client}) == place


async def test_beyond_the_rate_there_is_429_and_when_to_come_again(serve_api: ServeApi) -> None:
    async with serve_api(rate_limit="3/second") as http:
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(http.get("/api/jobs")) for _ in range(12)]
        replies = [call.result() for call in calls]
        refused = [each for each in replies if each.status_code == 429]

        assert {each.status_code for each in replies} == {200, 429}
        for each in refused:
            assert each.headers["retry-after"] == "1"
            assert "EVALQUEUE_RATE_LIMIT" in each.json()["detail"]
            assert each.headers["cache-control"] == "no-store"
        await asyncio.sleep(float(refused[0].headers["retry-after"]))
        assert (await http.get("/api/jobs")).status_code == 200


async def test_each_name_has_a_rate_and_each_address_without_one(serve_api: ServeApi) -> None:
    async with serve_api(rate_limit="2/hour", api_tokens=ENTRIES) as http:
        for headers, refusals in (
            (bearer(TOKENS["sam"]), [200, 200, 429, 429]),
            (bearer(TOKENS["ada"]), [200, 200, 429]),
            ({}, [401, 401, 429]),
        ):
            found = [(await http.get("/api/jobs", headers=headers)).status_code for _ in refusals]
            assert found == refusals
        wait = (await http.get("/api/jobs", headers=bearer(TOKENS["sam"]))).headers["retry-after"]
        assert 1000 < int(wait) <= 1800
        # The page's files and the document share the rate of an address, probes have their own.
        assert (await http.get("/openapi.json")).status_code == 429
        assert [(await http.get("/healthz")).status_code for _ in range(3)] == [200, 200, 429]


async def test_without_a_limit_no_request_is_refused(serve_api: ServeApi) -> None:
    async with serve_api(rate_limit="off") as http:
        for _ in range(50):
            assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize("by", ["header", "sign-in"])
async def test_guesses_come_to_an_end(
    serve_api: ServeApi, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So slow that no token of the bucket is refilled during the test.
    monkeypatch.setattr(sessions, "GUESSES", Rate(amount=GUESSES.amount, seconds=86_400))
    async with serve_api(api_tokens=ENTRIES) as http:

        async def show(token: str) -> httpx.Response:
            if by == "header":
                return await http.get("/api/jobs", headers=bearer(token))
            return await http.post("/api/session", json={"token": token})

        signed_in = await http.post("/api/session", json={"token": TOKENS["ada"]})
        assert signed_in.status_code == 200
        for number in range(GUESSES.amount):
            assert (await show(f"guess-{number}")).status_code == 401
        # After too many guesses, only a valid token is let in: others may share the address.
        reply = await show("guess-more")
        assert reply.status_code == 429
        assert 1 <= int(reply.headers["retry-after"]) <= 86_400 / GUESSES.amount
        assert "guess-more" not in reply.text
        assert (await show(TOKENS["sam"])).status_code == 200
        # A valid session is not counted as a guess.
        assert (await http.get("/api/jobs")).status_code == 200


async def test_the_same_wrong_token_again_is_no_new_guess(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=ENTRIES) as http:
        for _ in range(3 * GUESSES.amount):
            assert (await http.get("/api/jobs", headers=bearer("an old one"))).status_code == 401
        assert (await http.get("/api/jobs", headers=bearer(TOKENS["sam"]))).status_code == 200


async def test_a_proxy_that_is_named_says_who_calls(serve_api: ServeApi) -> None:
    def through(address: str) -> dict[bytes, bytes]:
        return {b"X-Forwarded-For": f"198.51.100.1, {address}".encode()}

    async with serve_api(api_tokens=ENTRIES, proxies="127.0.0.1", rate_limit="1/hour") as http:
        first = [await http.get("/openapi.json", headers=through("192.0.2.1")) for _ in range(2)]
        second = await http.get("/openapi.json", headers=through("192.0.2.2"))
        assert [each.status_code for each in (*first, second)] == [200, 429, 200]
    async with serve_api(api_tokens=ENTRIES, rate_limit="1/hour") as http:
        replies = [
            await http.get("/openapi.json", headers=through(each))
            for each in ("1.1.1.1", "2.2.2.2")
        ]
        assert [each.status_code for each in replies] == [200, 429]
