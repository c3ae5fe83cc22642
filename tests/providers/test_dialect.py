"""What a refused parameter teaches, by the messages of vendors and servers."""

import pytest

from evalqueue.evaluators.providers.dialect import (
    AnswerFormat,
    Parameter,
    RefusedParameter,
    RequestDialect,
    refused,
)

LIMITS = ("max_tokens", "max_completion_tokens")
FORMAT, TEMPERATURE, LIMIT = (
    Parameter.RESPONSE_FORMAT,
    Parameter.TEMPERATURE,
    Parameter.OUTPUT_LIMIT,
)


@pytest.mark.parametrize(
    ("text", "parameter", "ceiling"),
    [
        ("Unsupported parameter: 'max_tokens' is not supported with this model. Use "
         "'max_completion_tokens' instead.", LIMIT, None),
        ("Unsupported value: 'temperature' does not support 0.1 with this model.",
         TEMPERATURE, None),
        ("`temperature` is deprecated for this model.", TEMPERATURE, None),
        ("property 'response_format' is unsupported", FORMAT, None),
        ("response_format is not supported by this server", FORMAT, None),
        ("This response_format type is unavailable now", FORMAT, None),
        ("This model does not support Json Output.", FORMAT, None),
        ("JSON mode is not enabled for models/gemma-3-27b-it", FORMAT, None),
        ("Unrecognized request argument supplied: max_completion_tokens", LIMIT, None),
        ("litellm.UnsupportedParamsError: gpt-5 models (including gpt-5-codex) don't support "
         "temperature=0.1. Only temperature=1 is supported.", TEMPERATURE, None),
        ("litellm.UnsupportedParamsError: bedrock does not support parameters: "
         "['response_format'], for model=x", FORMAT, None),
        ("litellm.BadRequestError: OpenAIException - Unsupported value: 'temperature' does not "
         "support 0.1 with this model.", TEMPERATURE, None),
        ("Error code: 400 - {'error': {'message': \"Unsupported parameter: 'max_tokens' is not "
         "supported\", 'param': 'max_tokens'}}", LIMIT, None),
        ("max_tokens is too large: 20,000. This model supports at most 16,384 completion tokens",
         LIMIT, 16_384),
        ("max_tokens: 8192 > 4096, which is the maximum allowed number of output tokens for x",
         LIMIT, 4_096),
        ("`max_tokens` must be less than or equal to `8192`", LIMIT, 8_192),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", LIMIT, 8_192),
        ("Range of max_tokens should be [1, 8192]", LIMIT, 8_192),
        ("Unable to submit request because it has a maxOutputTokens value of 100000 but the "
         "supported range is from 1 (inclusive) to 65537 (exclusive).", LIMIT, 65_536),
    ],
)  # fmt: skip
def test_a_message_that_names_a_parameter(
    text: str, parameter: Parameter, ceiling: int | None
) -> None:
    found = refused(text)

    assert found is not None
    assert (found.parameter, found.ceiling) == (parameter, ceiling)


@pytest.mark.parametrize(
    ("text", "param"),
    [
        ("Invalid value: 'temperature 39'. The message was refused", None),
        ("The message \"unsupported parameter: 'temperature'\" was refused", None),
        ("I have a temperature of 39 and it is not supported", None),
        ("temperature is not supported", "messages"),
        # The value is wrong, not the parameter.
        ("Invalid 'temperature': decimal above maximum value. Expected a value <= 2.",
         "temperature"),
        ("Invalid schema for response_format 'intent': In context=(), x", "response_format"),
        ("This model's maximum context length is 4097 tokens. However, you requested 4927 tokens "
         "(831 in the messages, 4096 in the completion).", None),
        ("'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum "
         "context length is 4096 tokens and your request has 1000 input tokens.", None),
        ("", None),
        ("{" * 10_000, None),
    ],
)  # fmt: skip
def test_other_messages_teach_nothing(text: str, param: str | None) -> None:
    assert refused(text, param=param) is None


@pytest.mark.parametrize("param", ["temperature", "body.temperature", "temperature.value"])
def test_a_field_that_names_the_parameter_is_enough(param: str) -> None:
    found = refused("This is not possible.", param=param)

    assert found == RefusedParameter(parameter=TEMPERATURE, name="temperature")


def test_formats_are_left_out_one_by_one() -> None:
    dialect = RequestDialect(limits=LIMITS)
    about_format = RefusedParameter(parameter=FORMAT, name="response_format")

    second = dialect.without(about_format, sent=dialect)
    assert second is not None
    assert second.format is AnswerFormat.JSON_OBJECT
    # Two calls in flight learn the same once.
    assert second.without(about_format, sent=dialect) is second
    third = second.without(about_format, sent=second)
    assert third is not None
    assert third.format is AnswerFormat.TEXT
    assert third.without(about_format, sent=third) is None


def test_two_calls_that_learn_different_things_keep_both() -> None:
    dialect = RequestDialect(limits=LIMITS)
    first = dialect.without(
        RefusedParameter(parameter=TEMPERATURE, name="temperature"), sent=dialect
    )
    assert first is not None

    both = first.without(RefusedParameter(parameter=LIMIT, name="max_tokens"), sent=dialect)

    assert both == RequestDialect(limits=("max_completion_tokens",), temperature=False)


def test_a_ceiling_only_falls() -> None:
    dialect = RequestDialect(limits=LIMITS)
    lower = dialect.without(
        RefusedParameter(parameter=LIMIT, name="max_tokens", ceiling=9), sent=dialect
    )
    assert lower is not None
    assert lower.output_limit(100) == 9
    assert lower.is_ceiling(100)

    # The endpoint refuses what it named: there is nothing to learn.
    assert (
        lower.without(RefusedParameter(parameter=LIMIT, name="max_tokens", ceiling=9), sent=lower)
        is None
    )
