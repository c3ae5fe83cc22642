"""What Gemini is sent: the body of a request, as the dialect says."""

import math
from collections.abc import Mapping
from typing import Any

from google.genai import types

from evalqueue.evaluators.providers.dialect import AnswerFormat, RequestDialect
from evalqueue.evaluators.providers.provider import CompletionRequest, schema_in_prompt

_NO_TOOLS = types.AutomaticFunctionCallingConfig(disable=True)
_TOP_LEVEL = frozenset({"safetySettings", "cachedContent", "labels", "serviceTier"})


def top_level(request: CompletionRequest) -> dict[str, Any]:
    """The settings that stand beside `generationConfig`, not in it."""
    return {name: value for name, value in request.model_settings.items() if name in _TOP_LEVEL}


def config(
    request: CompletionRequest, sent: RequestDialect, body: Mapping[str, Any], timeout: float
) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(
        system_instruction=system_text(request, sent) or None,
        automatic_function_calling=_NO_TOOLS,
        # The response as it came: the SDK's models refuse some that hold an answer.
        should_return_http_response=True,
        http_options=types.HttpOptions(
            timeout=math.ceil(timeout * 1000),
            extra_body={**top_level(request), "generationConfig": dict(body)},
        ),
    )


def generation_config(request: CompletionRequest, sent: RequestDialect) -> dict[str, Any]:
    settings = request.model_settings
    body = {name: value for name, value in settings.items() if name not in _TOP_LEVEL}
    body[sent.limits[0]] = sent.output_limit(request.max_output_tokens)
    if request.temperature is not None and sent.temperature:
        body["temperature"] = request.temperature
    if sent.format is not AnswerFormat.TEXT:
        body["responseMimeType"] = "application/json"
    if sent.format is AnswerFormat.JSON_SCHEMA:
        body["responseJsonSchema"] = {"title": request.schema_name, **request.schema}
    return body


def system_text(request: CompletionRequest, sent: RequestDialect) -> str:
    if sent.format is AnswerFormat.JSON_SCHEMA:
        return request.system
    return schema_in_prompt(request)


def parameters_sent(body: Mapping[str, Any], request: CompletionRequest) -> dict[str, Any]:
    """What a request says besides its texts. Of a schema, only that there is one."""
    has_schema = {"responseJsonSchema": True} if "responseJsonSchema" in body else {}
    return {**top_level(request), **body, **has_schema}
