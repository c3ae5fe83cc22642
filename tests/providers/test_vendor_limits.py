"""Limits as vendors name them."""

import pytest

from evalqueue.evaluators.providers.provider import VendorLimits
from evalqueue.evaluators.providers.replies import vendor_limits


def limits(requests: float | None = None, tokens: float | None = None) -> VendorLimits:
    """Limits per minute."""
    return VendorLimits(
        requests_per_second=None if requests is None else requests / 60,
        tokens_per_second=None if tokens is None else tokens / 60,
    )


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, None),
        ({"x-ratelimit-limit-requests": "600", "x-ratelimit-reset-requests": "0.1s"}, limits(600)),
        ({"x-ratelimit-limit-requests": "10000", "x-ratelimit-reset-requests": "6ms",
          "x-ratelimit-limit-tokens": "30000000", "x-ratelimit-reset-tokens": "1m0s"},
         limits(10_000, 30_000_000)),
        ({"x-ratelimit-limit-tokens": "90000"}, limits(tokens=90_000)),
        # A limit of 200 requests a day: the first one is back after 7 minutes.
        ({"x-ratelimit-limit-requests": "200", "x-ratelimit-reset-requests": "7m12s"}, None),
        ({"x-ratelimit-limit-requests": "-1"}, None),
        ({"x-ratelimit-limit-requests": "nan"}, None),
        ({"x-ratelimit-limit-requests": "many"}, None),
    ],
)  # fmt: skip
def test_limits_in_headers(headers: dict[str, str], found: VendorLimits | None) -> None:
    assert vendor_limits.limits_in_headers(headers) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Rate limit reached for gpt-4o in organization o-1 on tokens per min (TPM): Limit 30000, "
         "Used 29,000, Requested 2000. Please try again in 2s.", limits(tokens=30_000)),
        ("Rate limit reached for gpt-4o on requests per min (RPM): Limit 3, Used 3, Requested 1.",
         limits(3)),
        ("Rate limit reached for gpt-4o on requests per day (RPD): Limit 200, Used 200.", None),
        ("Too many requests.", None),
    ],
)  # fmt: skip
def test_limits_in_messages(text: str, found: VendorLimits | None) -> None:
    assert vendor_limits.limits_in_message(text) == found


def test_limits_of_quotas() -> None:
    quotas = [
        ("GenerateRequestsPerMinutePerProjectPerModel", "30"),
        ("GenerateContentInputTokensPerModelPerMinute", "250000"),
        ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "200"),
    ]
    assert vendor_limits.limits_of_quotas(quotas) == limits(30, 250_000)
    assert vendor_limits.limits_of_quotas(quotas[2:]) is None
    assert vendor_limits.limits_of_quotas([("PerMinute", "")]) is None


@pytest.mark.parametrize(
    ("text", "per_day"),
    [
        ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", True),
        ("on requests per day (RPD): Limit 200", True),
        ("You have reached your daily limit.", True),
        ("on requests per min (RPM): Limit 200", False),
        ("GenerateRequestsPerMinutePerProjectPerModel", False),
        ("Try again today.", False),
    ],
)
def test_limits_per_day(text: str, per_day: bool) -> None:
    assert vendor_limits.is_per_day(text) is per_day


@pytest.mark.parametrize(
    ("text", "too_large"),
    [
        ("Request too large for x on tokens per min (TPM): Limit 6000, Requested 7021.", True),
        ("Rate limit reached on tokens per min. Limit: 30,000 / min. Requested: 45,210.", True),
        ("on tokens per min (TPM): Limit 30000, Used 29,000, Requested 2000.", False),
        ("on tokens per min. Limit: 90000 / min. Current: 99000 / min.", False),
        ("Rate limit reached", False),
    ],
)
def test_a_request_that_is_larger_than_the_limit(text: str, too_large: bool) -> None:
    assert vendor_limits.is_too_large(text) is too_large


@pytest.mark.parametrize(
    ("characters", "limit", "beyond"),
    [
        (8_001, limits(tokens=1_000), True),
        (8_000, limits(tokens=1_000), False),
        (8_001, limits(60), False),
        (8_001, None, False),
    ],
)
def test_a_text_that_no_minute_allows(
    characters: int, limit: VendorLimits | None, beyond: bool
) -> None:
    assert vendor_limits.is_beyond(characters, limit) is beyond


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360.0), ("1.5s", 1.5), ("20ms", 0.02), ("12", 12.0), ("1d2h", 93_600.0),
     ("1h1m1s1ms", 3661.001), ("", None), ("soon", None)],
)  # fmt: skip
def test_delays(text: str, seconds: float | None) -> None:
    assert vendor_limits.seconds_in(text) == seconds
