"""A package index over TLS with a CA of its own, and small checkouts that are set up from it."""

import base64
import hashlib
import importlib.metadata
import os
import shutil
import ssl
import subprocess
import threading
import zipfile
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from certificates import make_ca

ROOT = Path(__file__).parents[2]
BUILD_TOOLS = (
    "editables", "hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers",
)  # fmt: skip
CLOSED = "http://127.0.0.1:9"  # a proxy that nobody serves: no way out of the machine
USER, PASSWORD = "someone", "secret"


@dataclass(slots=True)
class Mirror:
    """An index that serves what is installed here, as wheels."""

    folder: Path
    ca: Path
    port: int = 0
    asked: list[str] = field(default_factory=list[str])
    """The paths of all requests."""
    needs_password: bool = False

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/simple"

    def pins(self, *names: str) -> str:
        """Lines of a lock file."""
        lines: list[str] = []
        for name in names:
            (wheel,) = (self.folder / "simple" / name).glob("*.whl")
            sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
            version = importlib.metadata.version(name)
            lines.append(f"{name}=={version} --hash=sha256:{sha256}\n")
        return "".join(lines)


def add_wheel(name: str, folder: Path) -> None:
    """Make a wheel of an installed package."""
    package = importlib.metadata.distribution(name)
    wheel = (package.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag: ").split("-") for line in wheel if line.startswith("Tag: ")]
    tag = "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True))
    stem = f"{name.replace('-', '_')}-{package.version}"
    (folder / name).mkdir(parents=True)
    with zipfile.ZipFile(folder / name / f"{stem}-{tag}.whl", "w") as archive:
        for file in package.files or []:
            inside = str(file)
            if inside.startswith("../") and "/bin/" in inside:
                if name != "uv":
                    continue  # a script that the installer makes
                inside = f"{stem}.data/scripts/{file.name}"
            if "__pycache__" not in inside and Path(str(file.locate())).is_file():
                archive.write(str(file.locate()), inside)


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Generator[Mirror]:
    folder = tmp_path_factory.mktemp("mirror")
    for name in ("uv", "sniffio", *BUILD_TOOLS):
        add_wheel(name, folder / "simple")
    ca, certificate, key = make_ca(folder)
    mirror = Mirror(folder=folder, ca=ca)

    class Index(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def do_GET(self) -> None:
            mirror.asked.append(self.path)
            token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if mirror.needs_password and self.headers["Authorization"] != f"Basic {token}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="mirror"')
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base's name
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients that refuse the certificate hang up

    server = Server(("127.0.0.1", 0), Index)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    mirror.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield mirror
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass(frozen=True, slots=True)
class Checkout:
    """The real `run` with a product of one module, which prints how it was called."""

    folder: Path
    home: Path
    mirror: Mirror

    @property
    def environment(self) -> dict[str, str]:
        """Of a user whose pip has no settings, without a way to the public index."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PIP_", "UV_", "EVALQUEUE_", "PYTHON", "SSL_", "XDG_"))
            and not key.upper().endswith("_PROXY")
            and key not in {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "VIRTUAL_ENV"}
        }
        proxies = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), CLOSED)
        return kept | proxies | {
            "HOME": str(self.home), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
            "PIP_RETRIES": "0",
        }  # fmt: skip

    @property
    def by_mirror(self) -> dict[str, str]:
        return {"PIP_INDEX_URL": self.mirror.url, "PIP_CERT": str(self.mirror.ca)}

    def start(
        self, *arguments: str, command: str | Path | None = None, cwd: Path | None = None,
        shell: tuple[str, ...] = (), **environment: str,
    ) -> subprocess.Popen[str]:  # fmt: skip
        return subprocess.Popen(
            [*shell, str(command or self.folder / "run"), *arguments],
            cwd=cwd or self.folder, env=self.environment | environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, **options: Any) -> tuple[int, str, str]:
        """The exit code, stdout and stderr."""
        process = self.start(*arguments, **options)
        out, err = process.communicate()
        return process.returncode, out, err


def make_checkout(folder: Path, mirror: Mirror) -> Checkout:
    (folder / "tools").mkdir(parents=True)
    (folder / "src/evalqueue").mkdir(parents=True)
    shutil.copy(ROOT / "run", folder)
    for name in ("debian.sh", "environment.sh", "pip_settings.py"):
        shutil.copy(ROOT / "tools" / name, folder / "tools")
    (folder / "src/evalqueue/__init__.py").touch()
    (folder / "src/evalqueue/__main__.py").write_text(
        "import os, sys, sniffio; print(os.getcwd(), *sys.argv[1:])\n"
    )
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "evalqueue"\nversion = "1"\ndependencies = ["sniffio"]\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["src/evalqueue"]\n'
    )
    (folder / "requirements.lock").write_text(mirror.pins("sniffio"))
    (folder / "requirements-dev.lock").write_text(mirror.pins("sniffio", *BUILD_TOOLS))
    home = folder.with_name("home")
    home.mkdir(exist_ok=True)
    return Checkout(folder, home, mirror)


@pytest.fixture(scope="session")
def set_up(mirror: Mirror, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose environment exists, made with the settings of pip's file and `.netrc`. Tests
    leave it working."""
    checkout = make_checkout(tmp_path_factory.mktemp("set-up") / "checkout", mirror)
    (checkout.home / ".config/pip").mkdir(parents=True)
    (checkout.home / ".config/pip/pip.conf").write_text(
        f"[global]\nindex-url = https://127.0.0.1:1/nothing\n"
        f"[install]\nindex-url = {mirror.url}\ncert = {mirror.ca}\nuser = yes\n"
    )
    (checkout.home / ".netrc").write_text(f"machine 127.0.0.1\nlogin {USER}\npassword {PASSWORD}\n")
    (checkout.home / ".netrc").chmod(0o600)
    mirror.needs_password = True
    code, _, err = checkout.run("demo")
    mirror.needs_password = False
    assert code == 0, err
    (checkout.home / "log").write_text(err)
    return checkout
