"""The guarded line against servers that mean harm: each costs one answer, and says why."""

import asyncio
import gzip
import json
import socket
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import aclosing, suppress
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalqueue.evaluators.chatbots import transport
from evalqueue.evaluators.chatbots.protocol import TEXT_LIMIT, ChatbotError, Fault
from evalqueue.evaluators.chatbots.targets import (
    ChatbotSettings,
    Credential,
    Reach,
    Target,
    TargetRefused,
    check,
    credentials,
)
from evalqueue.evaluators.chatbots.transport import StreamLine, json_object

PATIENCE = 60.0  # seconds; the machine may be busy
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKEN = "a-token-that-must-not-be-seen"


async def read(line: StreamLine) -> list[str]:
    async with line.stream("/chat", {"message": "hi"}, {}) as lines:
        return [each async for each in lines]


async def fails(target: Target, **options: Any) -> ChatbotError:
    """How reading a whole answer fails."""
    line = StreamLine(target, **options)
    try:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ChatbotError) as failed:
                await read(line)
    finally:
        await line.aclose()
    assert 0 < len(failed.value.message) < 1_000
    return failed.value


async def test_lines_come_as_they_are_sent_without_their_ends(
    open_line: Any, serve: Any, aim: Any
) -> None:
    seen = asyncio.Event()

    async def behave(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"data: one\r\n\ndata: t")
        await seen.wait()  # the first line is read before the second one is whole
        writer.write("wo é\nbad \xff\nlast".encode("latin-1"))

    server = await serve(behave)
    line = open_line(aim(server.url))

    found: list[str] = []
    async with line.stream("/chat", {"message": "hi"}, {"X-Token": "t"}) as lines:
        async for each in lines:
            found.append(each)
            seen.set()

    assert found == ["data: one", "", "data: two \ufffd", "bad \ufffd", "last"]
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.json) == ("POST", "/chat", {"message": "hi"})
    assert asked.headers["x-token"] == "t"


async def test_json_comes_back_as_an_object(
    open_line: Any, serve: Any, aim: Any, as_json: Any
) -> None:
    server = await serve(as_json({"reply": "é\ud800"}, "201 Created"))
    line = open_line(aim(server.url))

    assert await line.post("/x", {}, {}) == {"reply": "é\ud800"}


@pytest.mark.parametrize(
    "body",
    [b"[1]", b'"x"', b"", b"<html>", b"[" * 200_000, b'{"a":' * 100_000, b"1" * 5_000, b"{\xff}"],
)
async def test_what_is_no_json_object_is_unreadable(
    open_line: Any, serve: Any, aim: Any, body: bytes
) -> None:
    server = await serve(b"HTTP/1.1 200 OK\r\n\r\n" + body)
    line = open_line(aim(server.url))

    with pytest.raises(ChatbotError) as failed:
        await line.post("/x", {}, {})

    assert failed.value.fault is Fault.UNREADABLE
    assert len(failed.value.quote) <= 500
    assert json_object(body.decode(errors="replace")) is None


@pytest.mark.parametrize(
    ("behaviour", "fault"),
    [
        (b"\x00\xff\x13garbage\r\n\r\n", Fault.UNREADABLE),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Fault.UNREADABLE),
        (b"HTTP/1.1 200 OK\r\nX-Large: " + b"a" * 200_000 + b"\r\n\r\n", Fault.UNREADABLE),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", Fault.UNREADABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", Fault.UNREADABLE),
        (b"", Fault.CONNECTION_LOST),
        (b"HTTP/1.1 200 OK\r\nContent-", Fault.CONNECTION_LOST),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ndata: x\n", Fault.CONNECTION_LOST),
        (CHUNKED + b"8\r\ndata: x\n\r\n", Fault.CONNECTION_LOST),
        (CHUNKED + b"8\r\ndata: x\n\r\nnonsense\r\n", Fault.UNREADABLE),
        (CHUNKED + b"fffffffffffffffff\r\ndata: x\n", Fault.UNREADABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nno gzip", Fault.UNREADABLE),
        (HEAD + b"a" * (transport.LINE_LIMIT + 1), Fault.TOO_LARGE),
        (HEAD + b"data: x\n" * (5 * 1024 * 1024 // 8), Fault.TOO_LARGE),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Fault.HTTP_ERROR),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\nbroken\xff\x00!", Fault.HTTP_ERROR),
        (b"HTTP/1.1 503 Oh\r\n\r\n" + b"x " * 100_000, Fault.HTTP_ERROR),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\ncut", Fault.HTTP_ERROR),
    ],
    ids=lambda each: str(each[:60]),
)
async def test_whatever_a_server_sends_is_a_fault_of_its_kind(
    serve: Any, aim: Any, behaviour: bytes, fault: Fault
) -> None:
    server = await serve(behaviour)

    assert (await fails(aim(server.url))).fault is fault


async def test_a_refusal_says_its_status_and_what_the_server_wrote(
    serve: Any, aim: Any, as_json: Any
) -> None:
    server = await serve(as_json({"detail": "no such user\n" + "x" * 9_000}, "401 Unauthorized"))

    failed = await fails(aim(server.url))

    assert failed.status == 401
    assert failed.message == "127.0.0.1 answered HTTP 401: check the credential"
    assert failed.quote.startswith('{"detail": "no such user')
    assert len(failed.quote) <= 500


async def test_a_hang_before_the_headers_is_a_timeout(serve: Any, aim: Any) -> None:
    async def hang(_asked: Any, _writer: Any) -> None:
        await asyncio.Event().wait()

    server = await serve(hang)
    failed = await fails(aim(server.url, timeout_seconds=0.2))

    assert (failed.fault, failed.message) == (Fault.TIMEOUT, "127.0.0.1 said nothing for 0.2 s")
    await asyncio.wait_for(server.gone.wait(), PATIENCE)


async def test_a_hang_in_the_middle_is_a_timeout_and_keeps_what_came(
    open_line: Any, serve: Any, aim: Any
) -> None:
    async def hang(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"data: one\n")
        await asyncio.Event().wait()

    server = await serve(hang)
    line = open_line(aim(server.url, timeout_seconds=2))  # also until the first line
    found: list[str] = []

    with pytest.raises(ChatbotError) as failed:
        async with line.stream("/chat", {}, {}) as lines:
            async for each in lines:
                found.append(each)  # noqa: PERF401  a comprehension would keep nothing

    assert failed.value.fault is Fault.TIMEOUT
    assert found == ["data: one"]


@pytest.mark.parametrize("piece", [b"data: 1\n", b"x", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_an_answer_without_an_end_is_ended(serve: Any, aim: Any, piece: bytes) -> None:
    """Drops that come often enough never let the silence last."""

    async def drip(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"" if piece.startswith(b"HTTP") else HEAD)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)

    server = await serve(drip)
    failed = await fails(aim(server.url, timeout_seconds=5, reply_seconds=0.5))

    assert failed.fault is Fault.TIMEOUT
    assert failed.message == "127.0.0.1's answer had no end after 0.5 s"
    await asyncio.wait_for(server.gone.wait(), PATIENCE)


async def test_a_request_that_nobody_reads_is_given_up(open_line: Any, aim: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        target = aim(f"http://127.0.0.1:{deaf.getsockname()[1]}", reply_seconds=0.5)
        line = open_line(target)
        with pytest.raises(ChatbotError) as failed:
            await asyncio.wait_for(line.post("", {"x": "y" * 20_000_000}, {}), PATIENCE)

    assert failed.value.fault is Fault.TIMEOUT


@pytest.mark.parametrize("kind", ["gzip", "deflate"])
async def test_a_bomb_is_stopped_while_it_goes_off(serve: Any, aim: Any, kind: str) -> None:
    packed = (gzip if kind == "gzip" else zlib).compress(bytes(300 * 1024 * 1024), 9)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {kind}\r\nContent-Length: {len(packed)}\r\n\r\n"
    server = await serve(head.encode() + packed)

    tracemalloc.start()
    try:
        failed = await fails(aim(server.url))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert failed.fault is Fault.TOO_LARGE
    assert peak < 16 * 1024 * 1024


async def test_a_reset_is_a_lost_connection_and_what_came_before_it_was_read(
    open_line: Any, serve: Any, aim: Any
) -> None:
    was_read = asyncio.Event()

    async def reset(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"a\r\ndata: one\n\r\n")
        await was_read.wait()
        linger = bytes([1, 0, 0, 0, 0, 0, 0, 0])  # on, 0 seconds: RST and no FIN
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    server = await serve(reset)
    line = open_line(aim(server.url))
    found: list[str] = []
    with pytest.raises(ChatbotError) as failed:
        async with line.stream("/chat", {}, {}) as lines:
            async for each in lines:
                found.append(each)
                was_read.set()

    assert failed.value.fault is Fault.CONNECTION_LOST
    assert found == ["data: one"]


@pytest.mark.parametrize("how", ["cancelled", "left early"])
async def test_breaking_off_closes_the_connection_at_once(
    open_line: Any, serve: Any, aim: Any, how: str
) -> None:
    async def stream(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"data: one\n")
        await asyncio.Event().wait()

    server = await serve(stream)
    line = open_line(aim(server.url))
    begun = asyncio.Event()

    async def listen() -> None:
        async with line.stream("/chat", {}, {}) as lines:
            async for _ in lines:
                begun.set()
                if how == "left early":
                    break

    task = asyncio.create_task(listen())
    await asyncio.wait_for(begun.wait(), PATIENCE)
    if how == "cancelled":
        task.cancel()
    await asyncio.wait([task])

    assert task.cancelled() is (how == "cancelled")
    await asyncio.wait_for(server.gone.wait(), PATIENCE)


async def test_nobody_there_is_unreachable(aim: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    failed = await fails(aim(f"http://127.0.0.1:{port}"))

    assert failed.fault is Fault.UNREACHABLE
    assert failed.message.startswith("127.0.0.1 can't be reached: Connect call failed")


async def test_what_is_no_tls_is_unreachable(aim: Any) -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        failed = await fails(aim(f"https://127.0.0.1:{port}"))

    assert failed.fault is Fault.UNREACHABLE


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
async def test_redirects_are_not_followed(serve: Any, aim: Any, status: str) -> None:
    inside = await serve(b"HTTP/1.1 200 OK\r\n\r\n")
    location = f"Location: {inside.url}/latest/meta-data\r\n"
    server = await serve(f"HTTP/1.1 {status} Go\r\n{location}Content-Length: 0\r\n\r\n".encode())

    failed = await fails(aim(server.url))

    assert (failed.fault, failed.status) == (Fault.HTTP_ERROR, int(status))
    assert f"{inside.url}/latest/meta-data" in failed.quote
    assert "not followed" in failed.message
    assert (server.connections, inside.connections) == (1, 0)


async def test_no_proxy_of_the_environment_is_used(
    open_line: Any, serve: Any, aim: Any, as_json: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await serve(as_json({"reply": "from the proxy"}))
    server = await serve(as_json({"reply": "from the bot"}))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    line = open_line(aim(server.url))

    assert await line.post("", {}, {}) == {"reply": "from the bot"}

    assert proxy.connections == 0


async def test_cookies_are_not_kept(open_line: Any, serve: Any, aim: Any, as_json: Any) -> None:
    server = await serve(as_json({}, headers="Set-Cookie: session=another; Path=/\r\n"))
    line = open_line(aim(server.url.replace("127.0.0.1", "localhost")))

    for _ in range(2):
        await line.post("", {}, {})

    assert ["cookie" in asked.headers for asked in server.asked] == [False, False]
    assert server.connections == 2


class Names(AbstractResolver):
    """Answers each lookup with the next list of addresses."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.lookups = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.lookups += 1
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self._answers.pop(0)
        ]

    async def close(self) -> None:
        """There is nothing to close."""


def listed(port: int, *more: str) -> Target:
    hosts = ",".join(["kaira.example.com", *more])
    url = f"http://kaira.example.com:{port}"
    return check(url, ChatbotSettings(hosts=hosts), protocol="any")


async def test_a_name_that_leads_elsewhere_the_second_time_is_refused_then(
    open_line: Any, serve: Any, as_json: Any
) -> None:
    """Rebinding: what was looked up once says nothing about the next connection."""
    good = await serve(as_json({"reply": "hello"}), host="127.0.0.2")
    inside = await serve(as_json({"reply": "secret"}), host="127.0.0.1", port=good.port)
    names = Names(["127.0.0.2"], ["127.0.0.1"], ["127.0.0.1", "127.0.0.2"])
    line = open_line(listed(good.port, "127.0.0.2"), resolver=names)

    assert await line.post("", {}, {}) == {"reply": "hello"}
    with pytest.raises(ChatbotError) as failed:
        await line.post("", {}, {})
    assert await line.post("", {}, {}) == {"reply": "hello"}

    assert failed.value.fault is Fault.UNREACHABLE
    assert "127.0.0.1 is not a public address" in failed.value.message
    assert "EVALQUEUE_CHATBOT_HOSTS" in failed.value.message
    assert (inside.connections, good.connections, names.lookups) == (0, 2, 3)


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["::ffff:127.0.0.1"], ["127.0.0.1", "127.0.0.3"], ["::1"]]
)
async def test_a_listed_name_never_leads_to_this_machine(serve: Any, addresses: list[str]) -> None:
    inside = await serve(b"HTTP/1.1 200 OK\r\n\r\n")

    failed = await fails(listed(inside.port, "localhost"), resolver=Names(addresses))

    assert failed.fault is Fault.UNREACHABLE
    assert "not a public address" in failed.message
    assert inside.connections == 0


async def test_an_address_that_needs_no_lookup_passes_the_same_gate(serve: Any) -> None:
    inside = await serve(b"HTTP/1.1 200 OK\r\n\r\n")
    target = Target(
        protocol="any",
        url=inside.url,
        host="127.0.0.1",
        port=inside.port,
        reach=Reach(is_public=True, networks=(ip_network("10.0.0.0/8"),)),
    )

    assert (await fails(target)).fault is Fault.UNREACHABLE
    assert inside.connections == 0


async def test_a_name_that_leads_nowhere_is_unreachable(aim: Any) -> None:
    class Nowhere(Names):
        async def resolve(self, *_args: Any, **_kwargs: Any) -> list[ResolveResult]:
            raise OSError(socket.EAI_NONAME, "Name or service not known")

    failed = await fails(listed(80), resolver=Nowhere())

    assert failed.fault is Fault.UNREACHABLE
    assert failed.message == "kaira.example.com can't be reached: Name or service not known"


@pytest.fixture
def with_token() -> Callable[[str], tuple[Target, Credential]]:
    def to(url: str) -> tuple[Target, Credential]:
        own = {"one": {"user_id": "u", "token": TOKEN, "host": "localhost"}}
        found = ChatbotSettings(hosts="localhost", credentials=own)
        target = check(url, found, protocol="any")
        return target, credentials(["one"], target, found)[0]

    return to


@pytest.mark.parametrize(
    "behaviour",
    [
        f"HTTP/1.1 401 No\r\n\r\nbad token {TOKEN}".encode(),
        f"HTTP/1.1 302 Go\r\nLocation: http://x/{TOKEN}\r\n\r\n".encode(),
        f"HTTP/1.1 2{TOKEN} OK\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\n{TOKEN}\r\n\r\n".encode(),
        f"{TOKEN}\r\n\r\n".encode(),
    ],
)
async def test_a_token_that_a_server_repeats_is_in_no_message(
    serve: Any, with_token: Any, behaviour: bytes
) -> None:
    server = await serve(behaviour)
    target, credential = with_token(server.url)

    failed = await fails(target, credential=credential)

    assert TOKEN not in f"{failed.message} {failed.quote} {failed} {failed!r} {failed.__cause__!r}"
    assert TOKEN not in f"{target!r} {credential!r}"


async def test_what_is_kept_of_a_text_can_be_stored_and_has_no_token_in_it(
    open_line: Any, with_token: Any
) -> None:
    line = open_line(*with_token("http://localhost:1"))

    assert (
        line.storable(f"my token is {TOKEN}, \x00 and \ud800")
        == "my token is ***, \ufffd and \ufffd"
    )
    assert len(line.storable("x" * (TEXT_LIMIT + 1))) == TEXT_LIMIT


SPELLINGS = [TOKEN, TOKEN.replace("t", r"\u0074"), "".join(rf"\u{ord(c):04X}" for c in TOKEN)]


@pytest.mark.parametrize("spelled", SPELLINGS)
async def test_a_token_that_a_server_repeats_is_in_nothing_that_is_read(
    open_line: Any, serve: Any, with_token: Any, spelled: str
) -> None:
    """JSON has many spellings of a text."""
    body = f'{{"reply": ["{spelled}"], "{spelled}": "x{spelled}"}}'
    server = await serve(HEAD + body.encode())
    line = open_line(*with_token(server.url))

    assert await read(line) == ['{"reply": ["***"], "***": "x***"}']
    assert await line.post("", {}, {}) == {"reply": ["***"], "***": "x***"}


@pytest.mark.parametrize("token", ["ab/cd+ef/gh==", 'quo"ted-token', "back\\slashed"])
@pytest.mark.parametrize("escape", [str, lambda text: text.replace("/", r"\/")])
async def test_a_token_is_found_however_json_escapes_it(
    open_line: Any, serve: Any, token: str, escape: Callable[[str], str]
) -> None:
    server = await serve(HEAD + escape(json.dumps({"a": token})).encode())
    own = {"one": {"user_id": "u", "token": token, "host": "localhost"}}
    found = ChatbotSettings(hosts="localhost", credentials=own)
    target = check(server.url, found, protocol="any")
    line = open_line(target, credentials(["one"], target, found)[0])

    assert await line.post("", {}, {}) == {"a": "***"}
    assert line.storable(f"it is {token}.") == "it is ***."


async def test_a_token_is_not_sent_to_another_host(with_token: Any) -> None:
    _, credential = with_token("http://localhost:1")

    with pytest.raises(TargetRefused, match="belongs to localhost"):
        StreamLine(listed(80), credential)


async def test_a_token_is_not_sent_in_clear_over_the_internet() -> None:
    own = {"one": {"user_id": "u", "token": TOKEN, "host": "kaira.example.com"}}
    found = ChatbotSettings(hosts="kaira.example.com", credentials=own)
    target = check("http://kaira.example.com", found, protocol="any")
    (credential,) = credentials(["one"], target, found)

    failed = await fails(target, credential=credential, resolver=Names(["1.1.1.1"]))

    assert failed.fault is Fault.UNREACHABLE
    assert "https only" in failed.message


async def test_deleting_needs_no_answer_in_json(open_line: Any, serve: Any, aim: Any) -> None:
    server = await serve(b"HTTP/1.1 404 Not Found\r\n\r\n")
    line = open_line(aim(server.url))

    await line.delete("/session/1", {"X": "y"})

    assert [(asked.method, asked.path) for asked in server.asked] == [("DELETE", "/session/1")]


async def test_a_line_can_be_closed_unopened_and_twice(aim: Any) -> None:
    line = StreamLine(aim("http://localhost:1"))

    await line.aclose()
    await line.aclose()


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    head=st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", HEAD, CHUNKED]),
    rest=st.binary(max_size=300),
)
async def test_no_bytes_do_anything_but_end_in_lines_or_a_fault(
    serve: Any, aim: Any, head: bytes, rest: bytes
) -> None:
    server = await serve(head + rest)
    line = StreamLine(aim(server.url, timeout_seconds=2, reply_seconds=3))

    async with aclosing(line):
        for ask in (read(line), line.post("", {}, {})):
            with suppress(ChatbotError):
                await ask
