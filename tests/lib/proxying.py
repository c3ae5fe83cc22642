"""The API behind a real nginx, with the example configuration."""

import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from browsing import START_SECONDS, Site
from certificates import make_ca
from faults.server import free_port

from evalqueue import tokens
from evalqueue.tokens import Right

EXAMPLE = Path(__file__).parents[2] / "deploy/proxies/nginx.conf"
AROUND = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {server}
}}
"""


@dataclass(frozen=True, slots=True)
class Proxied:
    """The API behind nginx."""

    url: str
    ca: Path
    token: str

    def http(self) -> httpx.Client:
        verify = ssl.create_default_context(cafile=str(self.ca))
        return httpx.Client(base_url=self.url, verify=verify, trust_env=False, timeout=30)


@contextmanager
def behind_nginx(
    site: Site, folder: Path, *, root_path: str = "", strips: bool = False
) -> Generator[Proxied]:
    """Start the API of a site, and nginx before it.

    Args:
        root_path: what nginx serves it under.
        strips: whether nginx takes that from the path of each request.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    program = shutil.which("nginx", path=path)
    assert program is not None, "No nginx: install it"
    token, known = tokens.make("anna", Right.SUBMIT)
    site.api(
        EVALQUEUE_API_TOKENS=known.entry,
        EVALQUEUE_PROXIES="127.0.0.1",
        EVALQUEUE_ROOT_PATH=root_path,
    )
    ca, certificate, key = make_ca(folder)
    port = free_port()
    config = folder / "nginx.conf"
    server = _example(
        {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/etc/ssl/evals.example.com.pem": str(certificate),
            "/etc/ssl/private/evals.example.com.key": str(key),
            "http://127.0.0.1:8721": site.url + ("/" if strips else ""),
            "location / {": f"location {root_path}/ {{",
        }
    )
    config.write_text(AROUND.format(folder=folder, server=server))
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(config)])
    proxied = Proxied(f"https://127.0.0.1:{port}{root_path}", ca, token)
    try:
        _wait_for(proxied, process)
        yield proxied
    finally:
        process.terminate()
        process.wait()


def _example(replaced: dict[str, str]) -> str:
    """The example with the addresses and files of the test."""
    text = EXAMPLE.read_text()
    for shown, used in replaced.items():
        assert text.count(shown) == 1, shown
        text = text.replace(shown, used)
    return text


def _wait_for(proxied: Proxied, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    with proxied.http() as http:
        while True:
            assert process.poll() is None
            try:
                http.get("/healthz").raise_for_status()
            except httpx.ConnectError:
                assert time.monotonic() < deadline
            else:
                return
