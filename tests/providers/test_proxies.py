"""A machine whose way out is a proxy that the environment names."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import CompletionRequest, Provider
from evalqueue.evaluators.simulated.vendor.server import SimulatedServer

Open = Callable[..., Awaitable[Provider]]
PROVIDERS = pytest.mark.parametrize("name", ["openai", "azure_openai", "gemini", "simulated"])
PATIENT_SECONDS = 30.0


@pytest.fixture(autouse=True)
def names_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@PROVIDERS
async def test_this_machine_is_not_asked_for_at_a_proxy(
    name: str,
    server: SimulatedServer,
    open_provider: Open,
    request_: CompletionRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody is there
    provider = await open_provider(name, server.url)

    completion = await provider.complete(request_, timeout=PATIENT_SECONDS)

    assert completion.model == "simulated-judge"


@PROVIDERS
async def test_others_are_asked_for_at_the_proxy(
    name: str, open_provider: Open, request_: CompletionRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 503 No Way Out\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        provider = await open_provider(name, "http://judge.example")
        with pytest.raises(ProviderError) as failure:
            await provider.complete(request_, timeout=PATIENT_SECONDS)

    assert failure.value.outcome is CallOutcome.TRANSIENT
    assert asked[0].startswith(b"POST http://judge.example/")


def certified(folder: Path) -> Path:
    """A certificate of localhost's own, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    secret = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "localhost.pem"
    path.write_bytes(secret + certificate.public_bytes(encoding))
    return path


@pytest.mark.parametrize("proxy", ["", "http://127.0.0.1:9"])
@PROVIDERS
async def test_certificates_of_this_machine_s_own_are_trusted_all_the_same(
    name: str,
    proxy: str,
    open_provider: Open,
    request_: CompletionRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    path = certified(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    async with await asyncio.start_server(busy, "127.0.0.1", 0, ssl=tls) as listener:
        provider = await open_provider(
            name, f"https://localhost:{listener.sockets[0].getsockname()[1]}"
        )
        with pytest.raises(ProviderError, match="HTTP 503"):
            await provider.complete(request_, timeout=PATIENT_SECONDS)
