"""Prices of models, and the costs of calls."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evalqueue.evaluators.prices.price_list import ModelPrice, PriceList, PriceSettings
from evalqueue.evaluators.providers.provider import Usage

NOW = datetime(2026, 11, 28, tzinfo=UTC)
OPENAI = "https://api.openai.com/v1"
GEMINI = "https://generativelanguage.googleapis.com"

tokens = st.integers(0, 5_000_000)


@pytest.mark.parametrize(
    ("address", "model"),
    [
        (OPENAI, "gpt-4o-mini"),
        (OPENAI, "gpt-4o-mini-2024-07-18"),
        (OPENAI, "o3"),
        (GEMINI, "gemini-2.5-flash"),
        (GEMINI, "gemini-2.5-pro"),  # dearer beyond 200,000 tokens
        ("https://name.openai.azure.com", "gpt-4o"),
    ],
)
@given(asked=tokens, answered=tokens, share=st.integers(0, 100))
def test_a_cost_is_what_the_public_prices_say(
    address: str, model: str, asked: int, answered: int, share: int
):
    cached = asked * share // 100
    usage = Usage(input_tokens=asked, output_tokens=answered, cached_tokens=cached)
    expected = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=asked, output_tokens=answered, cache_read_tokens=cached),
        model,
        provider_api_url=address,
        genai_request_timestamp=NOW,
    )

    assert PriceList(address, {}).cost(model, usage, at=NOW) == expected.total_price


@pytest.mark.parametrize(
    ("address", "model"),
    [
        (OPENAI, "a-model-of-ones-own"),
        ("http://127.0.0.1:8000/v1", "gpt-4o-mini"),  # a compatible server is not OpenAI
        (None, "simulated-judge"),
    ],
)
def test_an_unknown_price_is_not_zero(address: str | None, model: str):
    prices = PriceList(address, {})

    assert not prices.knows(model)
    assert prices.cost(model, Usage(input_tokens=10, output_tokens=10), at=NOW) is None


def test_a_call_without_all_its_tokens_has_no_cost():
    prices = PriceList(OPENAI, {})

    assert prices.knows("gpt-4o-mini")
    assert prices.cost("gpt-4o-mini", Usage(input_tokens=10), at=NOW) is None
    assert prices.cost("gpt-4o-mini", Usage(output_tokens=10), at=NOW) is None


def test_prices_of_ones_own_come_first_and_are_exact(monkeypatch: pytest.MonkeyPatch):
    own = {
        "gpt-4o-mini": {"input": 0.1, "output": 0.3},
        "mine": {"input": 1, "output": 2, "cached": 0},
    }
    monkeypatch.setenv("EVALQUEUE_PRICES", json.dumps(own))
    prices = PriceList(OPENAI, PriceSettings().evalqueue_prices)

    usage = Usage(input_tokens=3, output_tokens=1, cached_tokens=2)
    assert prices.cost("gpt-4o-mini", usage, at=NOW) == Decimal(
        "0.0000006"
    )  # not 0.6000000000000001
    assert prices.cost("mine", usage, at=NOW) == Decimal("0.000003")
    assert prices.knows("gpt-4o")  # of the public ones


@pytest.mark.parametrize(
    "text",
    [
        "dear", "[]", '{"m": 1}', '{"m": {"input": 1}}', '{"m": {"input": -1, "output": 1}}',
        '{"m": {"input": NaN, "output": 1}}', '{"m": {"input": 1, "output": 1, "image": 2}}',
    ],
)  # fmt: skip
def test_prices_that_make_no_sense_are_refused(text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVALQUEUE_PRICES", text)

    with pytest.raises((ValidationError, ValueError), match=r"EVALQUEUE_PRICES|evalqueue_prices"):
        PriceSettings()


def test_the_version_names_the_prices_that_were_used():
    own = {"m": ModelPrice(input=Decimal(1), output=Decimal(2))}
    public = PriceList(OPENAI, {}).version
    first, second = PriceList(OPENAI, own).version, PriceList(None, dict(own)).version

    assert public.startswith("genai-prices ")
    assert first == second != public
    assert first.startswith(public)
