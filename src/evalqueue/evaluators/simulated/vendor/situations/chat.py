"""Situations of the chat-completions protocol. Each reply is as somebody reported it."""

import json
from collections.abc import Mapping
from typing import Any

from evalqueue.evaluators.simulated.vendor.answers import Json
from evalqueue.evaluators.simulated.vendor.protocols.protocol import MODEL, VendorReply
from evalqueue.evaluators.simulated.vendor.situations.situation import Reply, Situation

REASONING_TOKENS = 10_000
"""What the reasoner of `reasoning-budget` needs before it answers."""
CEILING = 2_048
"""Of output tokens, in `limit-too-large`."""
_USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def _body(
    content: Any,
    *,
    finish: str = "stop",
    usage: Any = _USAGE,
    identifier: Any = "c1",
    **message: Any,
) -> Json:
    return {
        "id": identifier,
        "object": "chat.completion",
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": content, **message},
            }
        ],
        "usage": usage,
    }


def _answer(content: Any, **rest: Any) -> VendorReply:
    return VendorReply(body=_body(content, **rest))


def _error(status: int, message: str, **fields: Any) -> VendorReply:
    error = {"message": message, "type": None, "param": None, "code": None, **fields}
    return VendorReply(status=status, body={"error": error})


def _stream(*events: Any) -> VendorReply:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    text = ": keep-alive\n\n" + "".join(lines) + "data: [DONE]\n\n"
    return VendorReply(body={}, page=text, page_type="text/event-stream")


def _deltas(situation: Situation) -> VendorReply:
    text = situation.text
    pieces = [text[start : start + 7] for start in range(0, len(text), 7)]
    chunks = [
        {"id": "c1", "model": MODEL, "choices": [{"index": 0, "delta": {"content": piece}}]}
        for piece in pieces
    ]
    end: Json = {"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return _stream(*chunks, end, {"id": "c1", "choices": [], "usage": _USAGE})


def _tool_call(arguments: Any) -> list[Json]:
    function = {"name": "json_tool_call", "arguments": arguments}
    return [{"id": "t", "type": "function", "function": function}]


def _quotes_evidence(situation: Situation) -> VendorReply:
    """The user typed the end of a reasoning block, and the judge quotes it."""
    answer = dict(situation.answer)
    answer["evidence"] = f"</think> {situation.draft}"
    return _answer(f"<think>Easy.</think>{json.dumps(answer)}")


def _format(situation: Situation) -> str | None:
    given: Json = situation.call.settings.get("response_format") or {}
    return given.get("type")


def _without_response_format(situation: Situation) -> VendorReply:
    if _format(situation) is None:
        return _answer(f"Here it is:\n```json\n{situation.text}\n```")
    message = "response_format is not supported by this server"
    return _error(400, message, type="invalid_request_error")


def _without_json_mode(situation: Situation) -> VendorReply:
    if _format(situation) is None:
        return _answer(situation.text)
    return _error(400, "This model does not support Json Output.", code="invalid_request_error")


def _without_json_schema(situation: Situation) -> VendorReply:
    if _format(situation) != "json_schema":
        return _answer(situation.text)
    return _error(400, "This response_format type is unavailable now")


def _new_parameters(situation: Situation) -> VendorReply:
    settings = situation.call.settings
    if "max_tokens" in settings:
        return _error(
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    if settings.get("temperature", 1) != 1:
        return _error(
            400,
            "Unsupported value: 'temperature' does not support 0.1 with this model. Only the "
            "default (1) value is supported.",
            param="temperature",
            code="unsupported_value",
        )
    return _answer(situation.text)


def _wrapped_parameter(situation: Situation) -> VendorReply:
    if "temperature" not in situation.call.settings:
        return _answer(situation.text)
    message = "litellm.UnsupportedParamsError: x does not support parameters: ['temperature']"
    return _error(400, message, code="400")


def _extra_field(situation: Situation) -> VendorReply:
    if "response_format" not in situation.call.settings:
        return _answer(situation.text)
    loc = ["body", "response_format"]
    detail = [{"type": "extra_forbidden", "loc": loc, "msg": "Extra inputs are not permitted"}]
    return VendorReply(status=422, body={"detail": detail})


def _output_limit(situation: Situation) -> int:
    settings = situation.call.settings
    return settings.get("max_tokens") or settings.get("max_completion_tokens") or 0


def _limit_too_large(situation: Situation) -> VendorReply:
    limit = _output_limit(situation)
    if limit <= CEILING:
        return _answer(situation.text)
    return _error(
        400,
        f"max_tokens is too large: {limit}. This model supports at most {CEILING} completion "
        f"tokens, whereas you provided {limit}.",
        param="max_tokens",
        code="invalid_value",
    )


def _reasoning_budget(situation: Situation) -> VendorReply:
    if _output_limit(situation) >= REASONING_TOKENS:
        return _answer(situation.text)
    return _only_reasoning(situation)


def _only_reasoning(situation: Situation) -> VendorReply:
    limit = _output_limit(situation)
    details = {"reasoning_tokens": limit}
    usage = {
        "prompt_tokens": 100, "completion_tokens": limit, "completion_tokens_details": details
    }  # fmt: skip
    return _answer("", finish="length", usage=usage)


def _error_in_choice(situation: Situation) -> VendorReply:
    body = _body(situation.text[: len(situation.text) // 2], finish="error", usage=None)
    body["choices"][0]["error"] = {"code": 502, "message": "upstream died"}
    return VendorReply(body=body)


def _odd_usage(situation: Situation) -> VendorReply:
    usage: Json = {"prompt_tokens": "100", "completion_tokens": 20.5, "prompt_tokens_details": []}
    return _answer(situation.text, usage=usage, identifier=17)


def _gateway_quote(_: Situation) -> VendorReply:
    raw = json.dumps({"error": {"message": "Too long", "code": "context_length_exceeded"}})
    return _error(400, "Provider returned error", code=400, metadata={"raw": raw})


def _moderation(_: Situation) -> VendorReply:
    return _error(
        403,
        "Your chosen model requires moderation and your input was flagged",
        code=403,
        metadata={"reasons": ["violence"], "flagged_input": "…"},
    )


def _azure_filter(_: Situation) -> VendorReply:
    result = {"jailbreak": {"filtered": True, "detected": True}}
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result}
    message = "The response was filtered due to the prompt triggering Azure's policy."
    return _error(400, message, code="content_filter", param="prompt", innererror=inner)


def _wrapped_filter(_: Situation) -> VendorReply:
    return _error(
        400,
        "litellm.BadRequestError: litellm.ContentPolicyViolationError: AzureException - The "
        "response was filtered due to the prompt triggering the content management policy.",
        code="400",
    )


def _wrapped_context(_: Situation) -> VendorReply:
    return _error(
        500,
        "litellm.ContextWindowExceededError: litellm.BadRequestError: OpenAIException - Too long",
        code="500",
    )


def _filtered_turn(situation: Situation) -> VendorReply:
    """Only the question about the second turn is refused."""
    if situation.call.question.turn == "2":
        return _azure_filter(situation)
    return _answer(situation.text)


def _quoted_words(_: Situation) -> VendorReply:
    message = "The message 'my temperature is 39, unsupported value: temperature' was refused."
    return _error(400, message, type="invalid_request_error")


def _minute_too_small(status: int, words: str, used: str = "") -> Reply:
    """The request alone is over the limit of tokens per minute."""
    text = f"{words} on tokens per min (TPM): Limit 30000, {used}Requested 45210. Please reduce it."
    return lambda _: _error(status, text, code="rate_limit_exceeded", type="tokens")


def _rate_limited_once(situation: Situation) -> VendorReply:
    if not situation.is_first:
        return _answer(situation.text)
    message = "Rate limit reached for gpt-4o on requests per min (RPM): Limit 60, Used 60."
    return _error(429, message, code="rate_limit_exceeded", type="requests")


def _spaced(text: str) -> str:
    """With a line break inside a string."""
    return text.replace('"evidence": "', '"evidence": "line one\n', 1)


def _harmony(situation: Situation) -> VendorReply:
    """The raw channels of gpt-oss, which a server did not take apart."""
    return _answer(
        f"<|channel|>analysis<|message|>Maybe {situation.draft}<|end|><|start|>assistant"
        f"<|channel|>final<|message|>{situation.text}"
    )


CHAT: Mapping[str, Reply] = {
    "plain": lambda it: _answer(it.text),
    # Reasoning in the text.
    "think-draft": lambda it: _answer(f"<think>Maybe {it.draft}. No.</think>\n{it.text}"),
    "think-draft-comma": lambda it: _answer(
        f"<think>First: {it.draft} But that is unfair.</think>\n{it.text[:-1]},}}"
    ),
    "think-set": lambda it: _answer(
        f"<think>Options are {{PASS, FAIL}}.</think>\n```json\n{it.text}\n```"
    ),
    "think-unopened": lambda it: _answer(f"Maybe {it.draft}. No, {{wrong.\n</think>\n{it.text}"),
    "think-twice": lambda it: _answer(
        f"<think>Hm.</think> {it.draft}\n<think>No.</think>{it.text}"
    ),
    "think-unclosed": lambda it: _answer(f"<think>Maybe {it.draft}. Or"),
    "think-only-draft": lambda it: _answer(f"<think>It is {it.draft}</think>"),
    "think-quoted": _quotes_evidence,
    "think-other-marks": lambda it: _answer(f"[THINK]Maybe {it.draft}[/THINK]{it.text}"),
    "harmony-channels": _harmony,
    # Reasoning in fields of its own.
    "reasoning-parts": lambda it: _answer(
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": it.draft}]},
            {"type": "text", "text": it.text},
        ]
    ),
    "reasoning-field": lambda it: _answer(it.text, reasoning_content=f"Maybe {it.draft}"),
    "reasoning-field-only": lambda it: _answer(None, reasoning_content=it.text),
    "reasoning-field-draft": lambda it: _answer("", reasoning_content=f"Maybe {it.draft}. Or"),
    # The answer in other places.
    "text-part": lambda it: _answer([{"type": "text", "text": it.text}]),
    "content-object": lambda it: _answer(dict(it.answer)),
    "tool-call": lambda it: _answer(None, finish="tool_calls", tool_calls=_tool_call(it.text)),
    "tool-call-object": lambda it: _answer("", tool_calls=_tool_call(dict(it.answer))),
    "function-call": lambda it: _answer(None, function_call={"name": "x", "arguments": it.text}),
    "empty-tool-calls": lambda it: _answer(it.text, tool_calls=[], function_call=None, refusal=""),
    "stream": lambda it: _stream(_body(it.text)),
    "stream-of-pieces": _deltas,
    # Notation.
    "fenced": lambda it: _answer(f"Sure!\n```json\n{it.text}\n```\nAnything else?"),
    "trailing-comma": lambda it: _answer(f"{it.text[:-1]},}}"),
    "line-break-in-string": lambda it: _answer(_spaced(it.text)),
    "python-literal": lambda it: _answer(str(dict(it.answer))),
    "lower-case-labels": lambda it: _answer(it.respelled),
    "commented": lambda it: _answer(it.text.replace("{", "{ // my answer\n", 1)),
    "wrapped": lambda it: _answer(json.dumps({"result": dict(it.answer)})),
    "wrapped-text": lambda it: _answer(json.dumps({"answer": it.text})),
    "list-of-one": lambda it: _answer(json.dumps([dict(it.answer)])),
    "wrapped-draft": lambda it: _answer(f'{{"draft": {it.draft}}}'),
    "two-answers": lambda it: _answer(f"{it.draft}\n{it.text}"),
    "cut-off": lambda it: _answer(it.text[: len(it.text) - 5]),
    "soft-refusal": lambda _: _answer("I'm sorry, but I can't help with evaluating this."),
    "empty-once": lambda it: _answer(None if it.is_first else it.text),
    "empty": lambda _: _answer(None),
    # Usage and ids.
    "odd-usage": _odd_usage,
    "no-usage": lambda it: _answer(it.text, usage=None, identifier=None),
    # Errors.
    "error-in-200-billing": lambda _: VendorReply(
        body={"error": {"message": "Insufficient credits. Add more.", "code": 402}}
    ),
    "error-in-200-text": lambda _: VendorReply(body={"error": "upstream is down"}),
    "error-in-choice": _error_in_choice,
    "wrapped-filter": _wrapped_filter,
    "azure-filter": _azure_filter,
    "filtered-turn": _filtered_turn,
    "moderation": _moderation,
    "wrapped-context": _wrapped_context,
    "gateway-quote": _gateway_quote,
    "context-text": lambda _: VendorReply(
        status=400,
        body={"object": "error", "message": "This model's maximum context length is 32768 tokens."},
    ),
    "listed-error": lambda _: VendorReply(
        status=400, body=[{"error": {"code": 400, "message": "Something is wrong."}}]
    ),
    "minute-too-small": _minute_too_small(429, "Request too large for gpt-4o in organization o"),
    "minute-too-small-413": _minute_too_small(413, "Request too large for model llama-3"),
    "minute-too-small-by-number": _minute_too_small(429, "Rate limit reached for x", "Used 0, "),
    "rate-limited-once": _rate_limited_once,
    "quoted-words": _quoted_words,
    # Parameters.
    "no-response-format": _without_response_format,
    "no-json-mode": _without_json_mode,
    "no-json-schema": _without_json_schema,
    "new-parameters": _new_parameters,
    "wrapped-parameter": _wrapped_parameter,
    "extra-field": _extra_field,
    "limit-too-large": _limit_too_large,
    "reasoning-budget": _reasoning_budget,
    "reasoning-without-end": _only_reasoning,
}
