"""Situations of Gemini's `generateContent`."""

from collections.abc import Mapping
from typing import Any

from evalqueue.evaluators.simulated.vendor.answers import Json
from evalqueue.evaluators.simulated.vendor.protocols.protocol import MODEL, VendorReply
from evalqueue.evaluators.simulated.vendor.situations.situation import Reply, Situation

CEILING = 8_192
"""Of output tokens, in `limit-too-large`."""
REASONING_TOKENS = 10_000
_USAGE = {
    "promptTokenCount": 100,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 300,
    "totalTokenCount": 420,
}


def _answer(*parts: Json, finish: str = "STOP", usage: Any = _USAGE) -> VendorReply:
    content = {"role": "model", "parts": list(parts)} if parts else {"role": "model"}
    return VendorReply(
        body={
            "candidates": [{"content": content, "finishReason": finish}],
            "usageMetadata": usage,
            "modelVersion": MODEL,
            "responseId": "r1",
        }
    )


def _text(situation: Situation, **rest: Any) -> VendorReply:
    return _answer({"text": situation.text}, **rest)


def _error(code: int, status: str, message: str, details: Any = ()) -> VendorReply:
    error = {"code": code, "status": status, "message": message, "details": list(details)}
    return VendorReply(status=code, body={"error": error})


def _rate_limited_once(situation: Situation) -> VendorReply:
    if not situation.is_first:
        return _text(situation)
    quota = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
    return _exhausted(quota, "30", "0.05s")


def _exhausted(quota: str, value: str, delay: str) -> VendorReply:
    kind = "type.googleapis.com/google.rpc"
    return _error(
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
        [
            {
                "@type": f"{kind}.QuotaFailure",
                "violations": [{"quotaId": quota, "quotaValue": value}],
            },
            {"@type": f"{kind}.RetryInfo", "retryDelay": delay},
        ],
    )


def _without_json_mode(situation: Situation) -> VendorReply:
    if "responseMimeType" not in situation.call.settings:
        return _text(situation)
    message = "JSON mode is not enabled for models/gemma-3-27b-it"
    return _error(400, "INVALID_ARGUMENT", message)


def _limit_too_large(situation: Situation) -> VendorReply:
    limit = situation.call.settings["maxOutputTokens"]
    if limit <= CEILING:
        return _text(situation)
    message = (
        f"Unable to submit request because it has a maxOutputTokens value of {limit} but the "
        f"supported range is from 1 (inclusive) to {CEILING + 1} (exclusive)."
    )
    return _error(400, "INVALID_ARGUMENT", message)


def _reasoning_budget(situation: Situation) -> VendorReply:
    if situation.call.settings["maxOutputTokens"] >= REASONING_TOKENS:
        return _text(situation)
    return _only_reasoning(situation)


def _only_reasoning(situation: Situation) -> VendorReply:
    limit = situation.call.settings["maxOutputTokens"]
    usage = {**_USAGE, "candidatesTokenCount": None, "thoughtsTokenCount": limit}
    return _answer(finish="MAX_TOKENS", usage=usage)


def _no_candidates(_: Situation) -> VendorReply:
    return VendorReply(body={"usageMetadata": _USAGE, "modelVersion": MODEL})


GEMINI: Mapping[str, Reply] = {
    "plain": _text,
    "thought-parts": lambda it: _answer(
        {"text": f"Maybe {it.draft}", "thought": True}, {"text": it.text}
    ),
    "no-candidates-once": lambda it: _no_candidates(it) if it.is_first else _text(it),
    "no-candidates": _no_candidates,
    "empty-once": lambda it: _answer() if it.is_first else _text(it),
    "empty": lambda _: _answer(),
    "recitation": lambda _: _answer(finish="RECITATION"),
    "blocked": lambda _: VendorReply(
        body={"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": _USAGE}
    ),
    "odd-usage": lambda it: _text(
        it, usage={"promptTokenCount": "100", "x": [1], "totalTokenCount": {}}
    ),
    "no-usage": lambda it: _text(it, usage=None),
    "error-in-200": lambda _: VendorReply(
        body={"error": {"code": 503, "status": "UNAVAILABLE", "message": "overloaded"}}
    ),
    "overloaded": lambda _: _error(503, "UNAVAILABLE", "The model is overloaded."),
    "daily-quota": lambda _: _exhausted(
        "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "20", "2s"
    ),
    "minute-too-small": lambda _: _exhausted(
        "GenerateContentInputTokensPerModelPerMinute-FreeTier", "5", "40s"
    ),
    "rate-limited-once": _rate_limited_once,
    "lower-case-labels": lambda it: _answer({"text": it.respelled}),
    "no-json-mode": _without_json_mode,
    "limit-too-large": _limit_too_large,
    "reasoning-budget": _reasoning_budget,
    "reasoning-without-end": _only_reasoning,
}
