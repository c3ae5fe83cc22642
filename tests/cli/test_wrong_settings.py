"""Settings that can't be used: what is refused, where, and what is written about it."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.cli.conftest import Shell

from evalqueue import daemon
from evalqueue.environment import EnvironmentSettings, problems
from evalqueue.evaluators.alerts.webhook import WebhookSettings
from evalqueue.evaluators.batch.economy.settings import EconomySettings
from evalqueue.evaluators.caps.limits import CapSettings
from evalqueue.evaluators.chatbots.targets import ChatbotSettings
from evalqueue.evaluators.pace.limits import PaceSettings
from evalqueue.evaluators.prices.price_list import PriceSettings
from evalqueue.evaluators.providers.registry import ProviderSettings
from evalqueue.evaluators.sources.settings import SourceSettings
from evalqueue.settings import Settings

SECRET = "sk-pasted-into-a-wrong-setting"
WRONG: list[tuple[type[EnvironmentSettings], str, str]] = [
    (Settings, "DATABASE_URL", f"postgresql://u:{SECRET}@@h:x/d"),
    (Settings, "EVALQUEUE_API_TOKENS", SECRET),
    (Settings, "EVALQUEUE_PORT", SECRET),
    (Settings, "EVALQUEUE_PROXIES", f"127.0.0.1,{SECRET}"),
    (Settings, "EVALQUEUE_RATE_LIMIT", SECRET),
    (Settings, "EVALQUEUE_LOG_FORMAT", SECRET),
    (ProviderSettings, "OPENAI_API_KEY", f"{SECRET}\n{SECRET}"),
    (PaceSettings, "EVALQUEUE_LLM_LIMITS", SECRET),
    (PaceSettings, "EVALQUEUE_LLM_LIMITS", f"gpt-4o={SECRET}:1"),
    (PaceSettings, "EVALQUEUE_LLM_LIMITS", f"gpt-4o=rpm:{SECRET}"),
    (PaceSettings, "EVALQUEUE_LLM_MAX_WAIT_SECONDS", SECRET),
    (PriceSettings, "EVALQUEUE_PRICES", SECRET),
    (PriceSettings, "EVALQUEUE_PRICES", json.dumps({"m": SECRET})),
    (PriceSettings, "EVALQUEUE_PRICES", json.dumps({"m": {"input": SECRET, "output": 1}})),
    (EconomySettings, "EVALQUEUE_BATCH_QUESTIONS", SECRET),
    (SourceSettings, "EVALQUEUE_SOURCES", SECRET),
    (SourceSettings, "EVALQUEUE_SOURCES", json.dumps({"shop": {"address": SECRET}})),
    (CapSettings, "EVALQUEUE_MONTHLY_CAPS", SECRET),
    (CapSettings, "EVALQUEUE_MONTHLY_CAPS", json.dumps({"anna": SECRET})),
    (ChatbotSettings, "EVALQUEUE_CHATBOT_HOSTS", f"https://u:{SECRET}@h"),
    (ChatbotSettings, "EVALQUEUE_CHATBOT_CREDENTIALS", SECRET),
    (ChatbotSettings, "EVALQUEUE_CHATBOT_CREDENTIALS", json.dumps({"anna": {"token": SECRET}})),
    (WebhookSettings, "EVALQUEUE_WEBHOOK_HOSTS", f"https://u:{SECRET}@h"),
    (WebhookSettings, "EVALQUEUE_WEBHOOK_SECRET", SECRET),
    (Settings, "EVALQUEUE_PUBLIC_URL", SECRET),
    (Settings, "EVALQUEUE_OIDC_ISSUER", f"https://u:{SECRET}@h"),
    (Settings, "EVALQUEUE_OIDC_RIGHTS", SECRET),
]
REFUSED_AT_THE_START = [
    "EVALQUEUE_PRICES", "EVALQUEUE_MONTHLY_CAPS", "EVALQUEUE_LLM_LIMITS", "EVALQUEUE_SOURCES",
    "EVALQUEUE_CHATBOT_CREDENTIALS",
]  # fmt: skip


@pytest.mark.parametrize(("model", "name", "value"), WRONG)
def test_a_wrong_setting_is_named_without_its_value(
    model: type[EnvironmentSettings], name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as refused:
        model()
    assert SECRET not in str(refused.value)
    found = problems([model])
    assert found
    assert all(each.startswith(name) for each in found)
    assert SECRET not in "".join(found)


def test_each_kind_of_settings_is_among_them() -> None:
    assert {model for model, _, _ in WRONG} == set(daemon.ALL_SETTINGS)


@pytest.mark.parametrize("command", ["serve", "worker", "worker --processes 2", "up"])
async def test_no_process_starts_with_wrong_settings(
    shell: Shell, tmp_path: Path, command: str
) -> None:
    wrong = dict.fromkeys(REFUSED_AT_THE_START, SECRET)
    gone = tmp_path / "gone"
    ended = await shell.run(
        *command.split(), **wrong, OPENAI_API_KEY_FILE=str(gone), EVALQUEUE_PORT="0"
    )
    assert ended.exit_code == 2
    assert f"OPENAI_API_KEY_FILE: {gone}: No such file or directory." in ended.err.splitlines()
    assert all(f"\n{name}: " in f"\n{ended.err}" for name in wrong)
    assert SECRET not in ended.err + ended.out


async def test_doctor_finds_wrong_settings(shell: Shell) -> None:
    examined = await shell.run("doctor", "--json", EVALQUEUE_PRICES=SECRET)
    assert examined.exit_code == 1
    (found,) = [each for each in examined.json["findings"] if each["name"] == "settings"]
    assert found["level"] == "wrong"
    assert found["what"].startswith("EVALQUEUE_PRICES: ")
    assert SECRET not in examined.out + examined.err
