"""EVALQUEUE_LLM_LIMITS."""

import pytest
from pydantic import ValidationError

from evalqueue.evaluators.pace.limits import UNKNOWN, ModelLimits, PaceSettings
from evalqueue.evaluators.providers.provider import LlmCredential

COMPACT = (
    "gpt-4o=rpm:600,tpm:90_000,concurrent:8; gemini/gemini-2.5-flash = rpm:30 ;*=concurrent:64"
)
JSON = """{"gpt-4o": {"rpm": 600, "tpm": 90000, "concurrent": 8},
           "gemini/gemini-2.5-flash": {"rpm": 30}, "*": {"concurrent": 64}}"""


@pytest.mark.parametrize("text", [COMPACT, JSON])
def test_both_forms_say_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALQUEUE_LLM_LIMITS", text)
    monkeypatch.setenv("EVALQUEUE_LLM_MAX_WAIT_SECONDS", "600")

    settings = PaceSettings.read()

    def of(provider: str, model: str) -> ModelLimits:
        return settings.limits_of(LlmCredential.of(provider, model))

    assert settings.max_wait_seconds == 600
    assert of("openai", "gpt-4o") == ModelLimits(rpm=600, tpm=90_000, concurrent=8)
    assert of("azure_openai", "gpt-4o") == of("openai", "gpt-4o")
    assert of("gemini", "gemini-2.5-flash") == ModelLimits(rpm=30)
    assert of("openai", "gemini-2.5-flash") == ModelLimits(concurrent=64)


def test_without_a_setting_limits_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALQUEUE_LLM_LIMITS", "")

    settings = PaceSettings.read()

    assert settings.max_wait_seconds is None
    assert settings.limits_of(LlmCredential.of("openai", "gpt-4o")) == UNKNOWN


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("gpt-4o", "is not a model and its limits"),
        ("gpt-4o=rpm", "the limits are rpm, tpm, concurrent"),
        ("gpt-4o=rps:10", "the limits are rpm, tpm, concurrent"),
        ("gpt-4o=rpm:fast", "valid number"),
        ("gpt-4o=rpm:0", "greater than 0"),
        ("gpt-4o=concurrent:1.5", "integer"),
        ("a=rpm:1;a=rpm:2", "named twice"),
        ("{", "not JSON"),
        ('{"a": {"rps": 1}}', "Extra inputs"),
        ('{"a": 1}', "valid dictionary"),
    ],
)
def test_what_is_wrong_is_said(text: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALQUEUE_LLM_LIMITS", text)

    with pytest.raises(ValidationError, match=reason):
        PaceSettings.read()
