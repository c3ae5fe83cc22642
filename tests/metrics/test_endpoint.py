"""A worker's endpoint: what it answers, and that nothing which reaches it does harm."""

import asyncio
import contextlib
import logging
import socket
import threading
import time

import httpx
import pytest

from evalqueue.errors import CannotListen
from evalqueue.metrics import endpoint
from evalqueue.metrics.endpoint import CONNECTIONS_MAX, exposed
from evalqueue.metrics.registry import Metrics

LOOPBACK = "127.0.0.1"


def get(port: int, path: str = "/metrics", host: str = LOOPBACK) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=30) as http:
        return http.get(f"http://{host}:{port}{path}")


def connected(clients: contextlib.ExitStack, port: int) -> socket.socket:
    client = clients.enter_context(socket.create_connection((LOOPBACK, port)))
    client.settimeout(30)
    return client


def test_it_answers_while_the_event_loop_stands_still():
    metrics = Metrics()
    metrics.counter("seen_total", "?").of().inc(7)

    async def block() -> httpx.Response:
        with exposed(metrics, host=LOOPBACK, port=0) as port:
            return get(port)  # the request itself blocks this event loop

    reply = asyncio.run(block())
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "seen_total 7.0" in reply.text


def test_other_paths_and_methods_are_refused():
    with exposed(Metrics(), host=LOOPBACK, port=0) as port:
        assert get(port, "/").status_code == 404
        assert get(port, "/metrics?name[]=x").status_code == 200
        with httpx.Client(trust_env=False) as http:
            assert http.post(f"http://{LOOPBACK}:{port}/metrics").status_code == 501


def test_it_listens_on_ipv6_too():
    with exposed(Metrics(), host="[::1]", port=0) as port:
        assert get(port, host="[::1]").status_code == 200


def test_a_taken_port_is_named_with_its_settings():
    with (
        exposed(Metrics(), host=LOOPBACK, port=0) as port,
        pytest.raises(CannotListen, match=f"port {port} of {LOOPBACK}.*EVALQUEUE_METRICS_PORT"),
        exposed(Metrics(), host=LOOPBACK, port=port),
    ):
        pass


def test_connections_are_few(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoint, "REQUEST_SECONDS", 3600)
    with exposed(Metrics(), host=LOOPBACK, port=0) as port, contextlib.ExitStack() as clients:
        held = [connected(clients, port) for _ in range(CONNECTIONS_MAX + 1)]
        assert held[0].recv(1) == b"", "the oldest is closed at once"
        for each in held[1:]:
            each.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert each.recv(15) == b"HTTP/1.0 200 OK"


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.0\r\nX-Slow: "])
def test_slow_clients_do_not_keep_a_scrape_out(monkeypatch: pytest.MonkeyPatch, sent: bytes):
    monkeypatch.setattr(endpoint, "REQUEST_SECONDS", 3600)
    with exposed(Metrics(), host=LOOPBACK, port=0) as port, contextlib.ExitStack() as clients:
        for _ in range(2 * CONNECTIONS_MAX):
            connected(clients, port).sendall(sent)
        assert get(port).status_code == 200
        assert get(port).status_code == 200


def test_silent_connections_are_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoint, "REQUEST_SECONDS", 0.5)
    with exposed(Metrics(), host=LOOPBACK, port=0) as port, contextlib.ExitStack() as clients:
        for each in [connected(clients, port) for _ in range(CONNECTIONS_MAX)]:
            assert each.recv(1) == b""
        assert get(port).status_code == 200


def test_a_client_that_sends_little_by_little_is_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoint, "REQUEST_SECONDS", 1)
    with exposed(Metrics(), host=LOOPBACK, port=0) as port, contextlib.ExitStack() as clients:
        slow = connected(clients, port)
        slow.sendall(b"GET /metrics HTTP/1.0\r\nX-Slow: ")
        slow.settimeout(0.1)
        ends = time.monotonic() + 30
        while time.monotonic() < ends:
            try:
                slow.sendall(b"x")
                if slow.recv(1) == b"":
                    return
            except TimeoutError:
                continue
            except OSError:
                return
        pytest.fail("it was never closed")


def test_a_client_that_reads_its_answer_little_by_little_is_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoint, "REQUEST_SECONDS", 1)
    metrics = Metrics()
    for number in range(2000):  # more than the buffers of both sides take
        metrics.counter(f"seen_{number}_total", "x" * 10_000)
    with exposed(metrics, host=LOOPBACK, port=0) as port, contextlib.ExitStack() as clients:
        slow = connected(clients, port)
        slow.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert slow.recv(15) == b"HTTP/1.0 200 OK"
        ends = time.monotonic() + 30
        while any("process_request" in each.name for each in threading.enumerate()):
            assert time.monotonic() < ends, "its thread waits for it"
            with contextlib.suppress(OSError):
                slow.recv(100_000)
            time.sleep(0.05)


def test_a_client_that_breaks_off_is_not_logged(caplog: pytest.LogCaptureFixture):
    metrics = Metrics()
    for number in range(100):
        metrics.counter(f"seen_{number}_total", "x" * 10_000)
    with caplog.at_level(logging.DEBUG), exposed(metrics, host=LOOPBACK, port=0) as port:
        for _ in range(5):
            with socket.create_connection((LOOPBACK, port)) as client:
                client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                client.recv(1)
        assert get(port).status_code == 200
    assert [each.levelname for each in caplog.records if each.name.startswith("evalqueue")] == [
        "INFO"
    ]
