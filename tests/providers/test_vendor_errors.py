"""Texts of vendors without credentials, and the waits that they ask for."""

from datetime import UTC, datetime

import pytest

from evalqueue.evaluators.providers.errors import CallOutcome
from evalqueue.evaluators.providers.replies import vendor_errors

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "86400"}, 120.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
    ],
)
def test_a_wait_is_read_in_all_its_spellings(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert vendor_errors.retry_after_in_headers(headers, now=NOW) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("1.5s", 1.5), ("30s", 30.0), ("900s", 120.0), ("soon", None)]
)
def test_a_duration_is_read(text: str, seconds: float | None) -> None:
    assert vendor_errors.retry_after_in_duration(text) == seconds


def test_a_credential_never_shows_even_at_the_cut() -> None:
    text = "x" * (vendor_errors.TEXT_LIMIT - 12) + "sk-secret"

    shown = vendor_errors.message("openai", CallOutcome.AUTH, text, credential="sk-secret")

    assert "sk-" not in shown
    assert shown.endswith("(check its credential)")
    assert len(shown) < vendor_errors.TEXT_LIMIT + 100
