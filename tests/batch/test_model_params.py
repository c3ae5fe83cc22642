"""The params about the requests to the LLM, of both kinds of evaluation jobs."""

from typing import Any

import pytest
from pydantic import ValidationError

from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.batch.job_type import EvaluateBatch
from evalqueue.evaluators.runs.model_params import ModelParams

KINDS = [
    lambda **params: EvaluateBatch(total_items=1, **params),
    EvaluateAdversarial,
]


@pytest.mark.parametrize("kind", KINDS)
def test_settings_are_taken_as_they_are(kind: Any) -> None:
    settings = {"reasoning_effort": "low", "top_p": 0.5, "thinkingConfig": {"thinkingBudget": 0}}

    params: ModelParams = kind(model_settings=settings, max_output_tokens=20_000)

    assert params.model_settings == settings
    assert params.max_output_tokens == 20_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"temperature": 1}, "use the param temperature"),
        ({"max_tokens": 5}, "use the param max_output_tokens"),
        ({"maxOutputTokens": 5}, "use the param max_output_tokens"),
        ({"model": "x"}, "use the param llm_model"),
        ({"messages": []}, "the product sets it itself"),
        ({"response-format": {}}, "the product sets it itself"),
        ({"responseJsonSchema": {}}, "the product sets it itself"),
        ({"stream": True}, "the product sets it itself"),
        ({"mock_response": "{}"}, "the product sets it itself"),
        ({"api_key": "sk"}, "credentials never travel"),
        ({"api_base": "http://x"}, "credentials never travel"),
        ({"extra_headers": {}}, "credentials never travel"),
        ({"x": "y" * 11_000}, "bytes; 10000 are allowed"),
        ({"x": float("nan")}, "model_settings"),
    ],
)
def test_settings_that_are_refused(kind: Any, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        kind(model_settings=settings)


@pytest.mark.parametrize("limit", [0, 15, 1_000_001])
def test_the_limit_of_output_tokens_has_bounds(limit: int) -> None:
    with pytest.raises(ValidationError, match="max_output_tokens"):
        EvaluateBatch(total_items=1, max_output_tokens=limit)
