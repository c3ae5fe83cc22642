"""Gemini's responses. Nothing but the answer's text is required, as in `chat_completions`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalqueue.evaluators.providers.errors import CallOutcome
from evalqueue.evaluators.providers.json_values import fields, items, name, parsed, string, tokens
from evalqueue.evaluators.providers.provider import Usage

_BLOCKED = ("SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "RECITATION", "SPII", "MODEL_ARMOR")
_BY_FINISH = {
    **dict.fromkeys(_BLOCKED, CallOutcome.CONTENT_FILTER),
    "MAX_TOKENS": CallOutcome.TRUNCATED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiAnswer:
    """One response with status 200."""

    outcome: CallOutcome
    reason: str = ""
    """Why there is no whole answer."""
    text: str = ""
    """The answer, or the part of it that came."""
    error: Mapping[str, Any] | None = None
    """The error that came instead of an answer."""
    model: str | None = None
    request_id: str | None = None
    usage: Usage

    @property
    def is_billed(self) -> bool:
        """Whether a model wrote it, however unusable it is."""
        return bool(self.text) or self.usage.input_tokens is not None


def read(body: str) -> GeminiAnswer:
    """Read a response with status 200."""
    value = parsed(body)
    response = fields(next(iter(items(value)), None) or value)
    outcome, reason, text = _read(response, body)
    return GeminiAnswer(
        outcome=outcome,
        reason=reason,
        text=text,
        error=fields(response.get("error")) or None,
        model=name(response.get("modelVersion")),
        request_id=name(response.get("responseId")),
        usage=_usage(fields(response.get("usageMetadata"))),
    )


def _read(response: Mapping[str, Any], body: str) -> tuple[CallOutcome, str, str]:
    """How the answer ended, the vendor's name for that, and the text so far."""
    candidate = fields(next(iter(items(response.get("candidates"))), None))
    if blocked := string(fields(response.get("promptFeedback")).get("blockReason")):
        return CallOutcome.CONTENT_FILTER, blocked, ""
    if not candidate:
        reason = "no candidates" if response else f"the answer is not Gemini's: {body}"
        return CallOutcome.TRANSIENT, reason, ""
    text = _text(fields(candidate.get("content")))
    reason = string(candidate.get("finishReason")) or "no finish reason"
    outcome = _BY_FINISH.get(reason, CallOutcome.OK)
    if outcome is CallOutcome.OK and not text.strip():
        return CallOutcome.TRANSIENT, f"the answer is empty ({reason})", ""
    return outcome, reason, text


def _text(content: Mapping[str, Any]) -> str:
    parts = [fields(part) for part in items(content.get("parts"))]
    return "".join(string(part.get("text")) for part in parts if not part.get("thought"))


def _usage(counts: Mapping[str, Any]) -> Usage:
    answer = tokens(counts.get("candidatesTokenCount"))
    thoughts = tokens(counts.get("thoughtsTokenCount"))
    known = [each for each in (answer, thoughts) if each is not None]
    return Usage(
        input_tokens=tokens(counts.get("promptTokenCount")),
        output_tokens=sum(known) if known else None,
        cached_tokens=tokens(counts.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
    )
