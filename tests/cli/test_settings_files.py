"""Settings in files that variables name, as Docker's and Kubernetes' secrets are."""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from browsing import Site, environment
from pydantic_settings import BaseSettings
from tests.cli.conftest import Shell

from evalqueue import tokens
from evalqueue.environment import FILE_MAX_BYTES, SettingsFileRefused
from evalqueue.evaluators.chatbots.targets import ChatbotSettings
from evalqueue.evaluators.providers.provider import plain
from evalqueue.evaluators.providers.registry import ProviderSettings
from evalqueue.evaluators.sources.settings import SourceSettings
from evalqueue.settings import Settings
from evalqueue.telemetry import logs

SECRET = "sk-of-the-file-ünsaid"
CREDENTIALS = '{"anna": {"user_id": "1", "token": "of-anna-alone", "host": "example.com"}}'
SOURCES = '{"shop": {"address": "postgresql://u:of-the-shop@h/d", "relation": "m"}}'
ADDRESS = "postgresql://u:of-the-database@h/d"


@pytest.mark.parametrize(
    ("settings", "name", "value", "field"),
    [
        (Settings, "DATABASE_URL", ADDRESS, "database_address"),
        (Settings, "EVALQUEUE_LISTEN_URL", ADDRESS, "listen_address"),
        (Settings, "EVALQUEUE_API_TOKENS", tokens.make("a", tokens.Right.READ)[1].entry, None),
        (Settings, "EVALQUEUE_OIDC_CLIENT_SECRET", SECRET, None),
        (ProviderSettings, "OPENAI_API_KEY", SECRET, None),
        (ProviderSettings, "AZURE_OPENAI_API_KEY", SECRET, None),
        (ProviderSettings, "GEMINI_API_KEY", SECRET, None),
        (ProviderSettings, "GOOGLE_API_KEY", SECRET, None),
        (ChatbotSettings, "EVALQUEUE_CHATBOT_CREDENTIALS", CREDENTIALS, "credentials"),
        (ChatbotSettings, "EVALQUEUE_CHATBOT_URL", "https://u:of-the-bot@h/", "url"),
        (SourceSettings, "EVALQUEUE_SOURCES", SOURCES, "sources"),
    ],
    ids=lambda each: each if str(each).isupper() else "",
)
def test_a_secret_in_a_file_is_the_secret_in_the_variable(
    settings: type[BaseSettings],
    name: str,
    value: str,
    field: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{value}\r\n")
    monkeypatch.setenv(name, value)
    by_variable = settings()
    monkeypatch.setenv(name, "")
    monkeypatch.setenv(f"{name}_FILE", str(file))
    by_file = settings()

    read = field or name.removeprefix("EVALQUEUE_").lower()
    assert getattr(by_file, read) == getattr(by_variable, read)
    assert getattr(by_file, read)
    if name != "EVALQUEUE_API_TOKENS":  # a hash
        assert logs.HIDDEN in logs.without_secrets(f"It is {value}")


def refused_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that can't be settings, and why."""
    named: dict[str, tuple[Path, str]] = {}
    for name, content, reason in (
        ("empty", b"\n", "is empty"),
        ("large", SECRET.encode() * (FILE_MAX_BYTES // 20), f"more than {FILE_MAX_BYTES} bytes"),
        ("binary", b"\xff\xfe" + SECRET.encode("utf-16"), "is not text in UTF-8"),
    ):
        (folder / name).write_bytes(content)
        named[name] = (folder / name, reason)
    os.mkfifo(folder / "pipe")
    named["pipe"] = (folder / "pipe", "is not a regular file")
    named["directory"] = (folder, "Is a directory")
    named["missing"] = (folder / "missing", "No such file or directory")
    return named


@pytest.mark.parametrize("kind", ["empty", "large", "binary", "pipe", "directory", "missing"])
def test_a_file_that_is_no_setting_is_named_without_its_content(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, reason = refused_files(tmp_path)[kind]
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(path))
    with pytest.raises(SettingsFileRefused) as refused:
        ProviderSettings()
    assert str(refused.value).startswith(f"OPENAI_API_KEY_FILE: {path}")
    assert reason in str(refused.value)
    assert "sk-" not in str(refused.value)


def test_a_file_is_read_once_in_the_life_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(file))
    first = ProviderSettings()
    file.unlink()
    assert ProviderSettings() == first


def test_a_byte_order_mark_and_white_space_are_no_part_of_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"\xef\xbb\xbf  " + SECRET.encode() + b" \t\r\n")
    monkeypatch.setenv("GEMINI_API_KEY_FILE", str(file))
    monkeypatch.setenv("OPENAI_API_KEY", f" {SECRET}\n")
    found = ProviderSettings().model_dump()
    assert [plain(found[name]) for name in ("gemini_api_key", "openai_api_key")] == [SECRET] * 2
    logs.hide({"OPENAI_API_KEY": f" {SECRET}-of-spaces\n"})
    assert logs.without_secrets(f"<{SECRET}-of-spaces>") == f"<{logs.HIDDEN}>"


async def test_a_file_that_may_not_be_read_ends_a_command(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "address"
    file.write_text(ADDRESS)
    both = await shell.run("status", DATABASE_URL=ADDRESS, DATABASE_URL_FILE=str(file))
    assert both.exit_code == 2
    assert both.err == "Both DATABASE_URL and DATABASE_URL_FILE are set. Unset one.\n"
    wrong = await shell.run("status", DATABASE_URL="", DATABASE_URL_FILE=str(tmp_path))
    assert wrong.exit_code == 2
    assert wrong.err == f"DATABASE_URL_FILE: {tmp_path}: Is a directory.\n"


def test_api_and_workers_run_on_secrets_in_files(dsn: str, tmp_path: Path) -> None:
    token, entry = tokens.make("anna", tokens.Right.SUBMIT)
    of_files: dict[str, Any] = {"DATABASE_URL": dsn, "EVALQUEUE_API_TOKENS": entry.entry}
    variables = environment(tmp_path, dsn)
    for name, value in of_files.items():
        variables.pop(name, None)
        (tmp_path / name).write_text(value + "\n")
        variables[f"{name}_FILE"] = str(tmp_path / name)
    site = Site(dsn, tmp_path, variables)
    try:
        site.start_vendor()
        site.worker()
        site.api()
        with site.http() as http:
            assert http.get("/api/jobs").status_code == httpx.codes.UNAUTHORIZED
        with site.http(headers={"Authorization": f"Bearer {token}"}) as http:
            params = {"total_items": 2}
            job = http.post(
                "/api/jobs", json={"job_type": "evaluate-batch", "params": params}
            ).json()
            with http.stream("GET", f"/api/jobs/{job['id']}/events") as stream:
                assert any('"completed"' in line for line in stream.iter_lines())
    finally:
        site.stop()


async def test_up_runs_on_an_address_in_a_file(shell: Shell, dsn: str, tmp_path: Path) -> None:
    """It gives its children addresses by variables."""
    (tmp_path / "address").write_text(dsn)
    up = await shell.start(
        "up", DATABASE_URL="", DATABASE_URL_FILE=str(tmp_path / "address"),
        EVALQUEUE_HOME=str(tmp_path / "home"), EVALQUEUE_PORT="0",
    )  # fmt: skip
    await up.until("web page", "out")
    up.process.terminate()
    assert (await up.end()).exit_code == 0
