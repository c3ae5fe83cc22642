"""What people are told about a job that waits."""

from dataclasses import replace

import pytest

from evalqueue.evaluators.pace.waiting import Wait

WAIT = Wait(
    label="openai/gpt-x",
    requests_per_minute=600,
    is_limit_known=True,
    next_in_seconds=2.13,
    job_rate=10.0,
)


@pytest.mark.parametrize(
    ("wait", "calls_left", "text"),
    [
        (WAIT, 8_400,
         "waiting for openai/gpt-x: 600 requests a minute, next in 2.1 s, done in about 14 min"),
        (WAIT, None, "waiting for openai/gpt-x: 600 requests a minute, next in 2.1 s"),
        (WAIT, 60, "waiting for openai/gpt-x: 600 requests a minute, next in 2.1 s, "
                   "done in about 8 s"),
        (WAIT, 90_000, "waiting for openai/gpt-x: 600 requests a minute, next in 2.1 s, "
                       "done in about 2.5 h"),
        (replace(WAIT, is_limit_known=False, requests_per_minute=1_234.5, next_in_seconds=90), None,
         "waiting for openai/gpt-x: about 1,234 requests a minute, next in 2 min"),
        (replace(WAIT, requests_per_minute=0.5), None,
         "waiting for openai/gpt-x: 30 requests an hour, next in 2.1 s"),
        (replace(WAIT, tokens_per_minute=90_000), None,
         "waiting for openai/gpt-x: 600 requests a minute, 90,000 tokens a minute, next in 2.1 s"),
        (replace(WAIT, failing="openai: HTTP 500:\n broken"), 10,
         "waiting for openai/gpt-x, which does not answer (openai: HTTP 500: broken): "
         "next in 2.1 s"),
    ],
)  # fmt: skip
def test_the_reason_of_a_wait(wait: Wait, calls_left: float | None, text: str) -> None:
    assert wait.describe(calls_left) == text
