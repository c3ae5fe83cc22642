"""The HTTP protocols of the vendors: parse requests, write answers and errors.

Each covers what the real SDKs send and read. There is one `VendorProtocol` per vendor, and the
server does not depend on any of them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from pydantic import BaseModel, Field

from evalqueue.evaluators.simulated.vendor.answers import Json, SimulatedQuestion
from evalqueue.evaluators.simulated.vendor.limits import LimitRefusal, RetryAdvice, retry_headers

MODEL = "simulated-judge"
"""The model that every answer names, independent of the requested model."""


class VendorFault(StrEnum):
    """A fault of the vendor. The model `always-FAULT` gets that fault every time."""

    AUTH = "auth"
    BILLING = "billing"
    MODEL_MISSING = "model-missing"
    RATE_LIMITED = "rate-limited"
    SERVER_ERROR = "server-error"
    BAD_REQUEST = "bad-request"
    CONTEXT_TOO_LONG = "context-too-long"
    CONTENT_FILTER = "content-filter"
    REFUSAL = "refusal"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    SILENT = "silent"
    """No answer until the client gives up."""

    @property
    def precedes_completion(self) -> bool:
        """Whether the vendor detects it before it runs the model."""
        return self in _BEFORE_COMPLETION


_BEFORE_COMPLETION = frozenset(
    {
        VendorFault.AUTH,
        VendorFault.BILLING,
        VendorFault.MODEL_MISSING,
        VendorFault.RATE_LIMITED,
        VendorFault.BAD_REQUEST,
        VendorFault.CONTEXT_TOO_LONG,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorRequest:
    """A parsed request."""

    key: str
    model: str
    question: SimulatedQuestion
    parameters: frozenset[str]
    """The given parameters among those that some servers do not support."""
    input_tokens: int
    settings: Json = field(default_factory=dict[str, Any])
    """The parameters as they were sent; of Gemini, its `generationConfig`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorReply:
    """A response to send."""

    body: Json | list[Json]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    page: str | None = None
    """A text instead of `body`."""
    page_type: str = "text/html"


class VendorProtocol(Protocol):
    """A vendor's protocol."""

    def read(
        self, body: bytes, path: Mapping[str, str], headers: Mapping[str, str]
    ) -> VendorRequest:
        """Parse a request.

        Raises:
            pydantic.ValidationError: the body is not a request of this protocol.
        """
        ...

    def answer(self, call: VendorRequest, text: str, request_id: str) -> VendorReply: ...

    def fault(
        self, call: VendorRequest, fault: VendorFault, text: str, retry_after: float | None
    ) -> VendorReply:
        """The response for a fault. `text` is the answer without the fault."""
        ...

    def refusal(self, call: VendorRequest, reason: str) -> VendorReply:
        """The response of a model that does not judge."""
        ...

    def over_limit(
        self, call: VendorRequest, over: LimitRefusal, advice: RetryAdvice
    ) -> VendorReply:
        """Refuse a request that is over a limit."""
        ...

    def error(self, status: int, message: str) -> VendorReply: ...


class OpenAIVendorProtocol:
    """Chat completions."""

    def __init__(self, *, names_limits: bool = True) -> None:
        """`names_limits`: whether a message about a limit says what the limit is."""
        self.names_limits = names_limits

    def read(
        self, body: bytes, path: Mapping[str, str], headers: Mapping[str, str]
    ) -> VendorRequest:
        request = _Chat.model_validate_json(body)
        system = "\n".join(m.content for m in request.messages if m.role == "system")
        prompt = "\n".join(m.content for m in request.messages if m.role != "system")
        name, schema = request.requested_schema(system)
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return VendorRequest(
            key=headers.get("api-key", bearer),
            model=path.get("deployment", request.model),
            question=SimulatedQuestion.read(evaluator=name, schema=schema, prompt=prompt),
            parameters=request.parameters(),
            input_tokens=count_tokens(system, prompt),
            settings=json.loads(body),
        )

    def answer(self, call: VendorRequest, text: str, request_id: str) -> VendorReply:
        return self._completion(call, {"content": text}, text, request_id)

    def refusal(self, call: VendorRequest, reason: str) -> VendorReply:
        return self._completion(call, {"content": None, "refusal": reason}, reason)

    def fault(
        self, call: VendorRequest, fault: VendorFault, text: str, retry_after: float | None
    ) -> VendorReply:
        match fault:
            case VendorFault.REFUSAL:
                return self.refusal(call, "I can't help with judging this.")
            case VendorFault.TRUNCATED:
                truncated = text[: len(text) // 2]
                return self._completion(
                    call, {"content": truncated}, truncated, finish_reason="length"
                )
            case VendorFault.CONTENT_FILTER:
                return self._completion(call, {"content": None}, "", finish_reason="content_filter")
            case _:
                status, code, kind, message = _OPENAI_FAULTS[fault]
                headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
                # OpenAI quotes the key in this message. Clients must not pass it on.
                message = message.format(key=call.key, model=call.model)
                return VendorReply(
                    status=status,
                    headers=headers,
                    body={"error": {"message": message, "type": kind, "code": code}},
                )

    def over_limit(
        self, call: VendorRequest, over: LimitRefusal, advice: RetryAdvice
    ) -> VendorReply:
        what, period = ("requests", "day (RPD)") if over.what == "day" else (over.what, "min")
        said = "Request too large" if over.is_too_large else "Rate limit reached"
        message = (
            f"{said} for {call.model} on {what} per {period}: Limit {over.limit:.0f}, "
            f"Requested {over.asked}."
        )
        return VendorReply(
            status=429,
            headers=retry_headers(advice, over.retry_after),
            body={
                "error": {
                    "message": message if self._names(over) else "Too many requests.",
                    "type": what,
                    "code": "rate_limit_exceeded",
                }
            },
        )

    def _names(self, over: LimitRefusal) -> bool:
        return self.names_limits or over.is_too_large or over.what == "day"

    def error(self, status: int, message: str) -> VendorReply:
        error = {"message": message, "type": "invalid_request_error", "code": None}
        return VendorReply(status=status, body={"error": error})

    def _completion(
        self,
        call: VendorRequest,
        message: Json,
        text: str,
        request_id: str = "",
        *,
        finish_reason: str = "stop",
    ) -> VendorReply:
        output = count_tokens(text)
        body = {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion",
            "created": 0,
            "model": MODEL,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": finish_reason,
                    "message": {"role": "assistant", **message},
                }
            ],
            "usage": {
                "prompt_tokens": call.input_tokens,
                "completion_tokens": output,
                "total_tokens": call.input_tokens + output,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
        }
        return VendorReply(body=body, headers={"x-request-id": request_id} if request_id else {})


class AzureVendorProtocol(OpenAIVendorProtocol):
    """OpenAI's protocol, where a content filter before the model answers with HTTP 400."""

    def fault(
        self, call: VendorRequest, fault: VendorFault, text: str, retry_after: float | None
    ) -> VendorReply:
        if fault is not VendorFault.CONTENT_FILTER:
            return super().fault(call, fault, text, retry_after)
        inner = {"code": "ResponsibleAIPolicyViolation"}
        message = "The prompt triggered the content management policy."
        error = {"message": message, "type": None, "code": "content_filter", "innererror": inner}
        return VendorReply(status=400, body={"error": error})


class GeminiVendorProtocol:
    """`generateContent` of the Gemini API."""

    def __init__(self, *, names_limits: bool = True) -> None:
        """`names_limits`: whether a refusal says what the limit is (`google.rpc.QuotaFailure`)."""
        self.names_limits = names_limits

    def read(
        self, body: bytes, path: Mapping[str, str], headers: Mapping[str, str]
    ) -> VendorRequest:
        request = _Generate.model_validate_json(body)
        system = request.systemInstruction.text() if request.systemInstruction else ""
        prompt = "\n".join(content.text() for content in request.contents)
        schema = request.generationConfig.responseJsonSchema or {}
        name = str(schema.get("title", ""))
        if not schema:
            name, schema = _schema_in_text(system)
        return VendorRequest(
            key=headers.get("x-goog-api-key", ""),
            model=path["model"],
            question=SimulatedQuestion.read(evaluator=name, schema=schema, prompt=prompt),
            parameters=frozenset(),
            input_tokens=count_tokens(system, prompt),
            settings=json.loads(body).get("generationConfig", {}),
        )

    def answer(self, call: VendorRequest, text: str, request_id: str) -> VendorReply:
        return self._response(call, text, "STOP", request_id)

    def refusal(self, call: VendorRequest, reason: str) -> VendorReply:
        del reason  # Gemini has no field for it
        return self._response(call, "", "PROHIBITED_CONTENT")

    def fault(
        self, call: VendorRequest, fault: VendorFault, text: str, retry_after: float | None
    ) -> VendorReply:
        match fault:
            case VendorFault.REFUSAL:
                return self.refusal(call, "")
            case VendorFault.TRUNCATED:
                return self._response(call, text[: len(text) // 2], "MAX_TOKENS")
            case VendorFault.CONTENT_FILTER:
                return VendorReply(body={"promptFeedback": {"blockReason": "SAFETY"}})
            case _:
                code, status, message, reason = _GEMINI_FAULTS[fault]
                details: list[Json] = []
                if reason:
                    kind = "type.googleapis.com/google.rpc.ErrorInfo"
                    details.append({"@type": kind, "reason": reason})
                if retry_after is not None:
                    kind = "type.googleapis.com/google.rpc.RetryInfo"
                    details.append({"@type": kind, "retryDelay": f"{retry_after:g}s"})
                message = message.format(key=call.key, model=call.model)
                error = {"code": code, "message": message, "status": status, "details": details}
                return VendorReply(status=code, body={"error": error})

    def over_limit(
        self, call: VendorRequest, over: LimitRefusal, advice: RetryAdvice
    ) -> VendorReply:
        period = "Day" if over.what == "day" else "Minute"
        what = "InputTokens" if over.what == "tokens" else "Requests"
        details: list[Json] = []
        if self.names_limits or over.what == "day":
            violation = {
                "quotaMetric": f"generativelanguage.googleapis.com/{what}",
                "quotaId": f"Generate{what}Per{period}PerProjectPerModel",
                "quotaValue": f"{over.limit:.0f}",
            }
            kind = "type.googleapis.com/google.rpc.QuotaFailure"
            details.append({"@type": kind, "violations": [violation]})
        if advice is not RetryAdvice.NONE:
            kind = "type.googleapis.com/google.rpc.RetryInfo"
            details.append({"@type": kind, "retryDelay": f"{over.retry_after:.3f}s"})
        message = "You exceeded your current quota, please check your plan and billing details."
        error = {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED"}
        return VendorReply(status=429, body={"error": {**error, "details": details}})

    def error(self, status: int, message: str) -> VendorReply:
        error = {"code": status, "message": message, "status": "INVALID_ARGUMENT"}
        return VendorReply(status=status, body={"error": error})

    def _response(
        self, call: VendorRequest, text: str, reason: str, request_id: str = ""
    ) -> VendorReply:
        output = count_tokens(text)
        parts = [{"text": text}] if text else []
        body = {
            "responseId": request_id,
            "modelVersion": MODEL,
            "candidates": [
                {"index": 0, "finishReason": reason, "content": {"role": "model", "parts": parts}}
            ],
            "usageMetadata": {
                "promptTokenCount": call.input_tokens,
                "candidatesTokenCount": output,
                "totalTokenCount": call.input_tokens + output,
            },
        }
        return VendorReply(body=body)


class _ChatMessage(BaseModel):
    role: str
    content: str = ""


class _NamedSchema(BaseModel):
    name: str
    definition: dict[str, Any] = Field(alias="schema")


class _ResponseFormat(BaseModel):
    type: str
    json_schema: _NamedSchema | None = None


class _Chat(BaseModel):
    model: str
    messages: list[_ChatMessage]
    response_format: _ResponseFormat | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None

    def requested_schema(self, system: str) -> tuple[str, Json]:
        """The name and the JSON schema: from the parameter or, for json_object, the system text."""
        named = self.response_format.json_schema if self.response_format else None
        if named is not None:
            return named.name, named.definition
        return _schema_in_text(system)

    def parameters(self) -> frozenset[str]:
        given = {
            "json_schema": self.response_format and self.response_format.json_schema,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "max_completion_tokens": self.max_completion_tokens,
        }
        return frozenset(name for name, value in given.items() if value is not None)


def _schema_in_text(system: str) -> tuple[str, Json]:
    """The name and the JSON schema in a system text."""
    match = re.search(r"^Schema name: (\S+)\n(?=\{)", system, re.MULTILINE)
    if match is None:
        return "", {}
    return match[1], json.JSONDecoder().raw_decode(system, match.end())[0]


class _Part(BaseModel):
    text: str = ""


class _Content(BaseModel):
    parts: list[_Part] = []

    def text(self) -> str:
        return "".join(part.text for part in self.parts)


class _GenerationConfig(BaseModel):
    responseJsonSchema: dict[str, Any] | None = None  # noqa: N815  # the vendor's spelling


class _Generate(BaseModel):
    contents: list[_Content]
    systemInstruction: _Content | None = None  # noqa: N815  # the vendor's spelling
    generationConfig: _GenerationConfig = _GenerationConfig()  # noqa: N815  # the vendor's spelling


_OPENAI_FAULTS = {
    VendorFault.AUTH: (401, "invalid_api_key", "auth", "Incorrect API key provided: {key}."),
    VendorFault.BILLING: (
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your quota.",
    ),
    VendorFault.MODEL_MISSING: (
        404,
        "model_not_found",
        "invalid",
        "The model {model} does not exist.",
    ),
    VendorFault.RATE_LIMITED: (429, "rate_limit_exceeded", "requests", "Rate limit reached."),
    VendorFault.SERVER_ERROR: (500, None, "server_error", "The server had an error."),
    VendorFault.BAD_REQUEST: (400, None, "invalid_request_error", "Something is wrong."),
    VendorFault.CONTEXT_TOO_LONG: (
        400,
        "context_length_exceeded",
        "invalid",
        "The prompt is too long.",
    ),
}
_GEMINI_FAULTS = {
    VendorFault.AUTH: (400, "INVALID_ARGUMENT", "API key {key} not valid.", "API_KEY_INVALID"),
    VendorFault.BILLING: (400, "FAILED_PRECONDITION", "Enable billing to go on.", None),
    VendorFault.MODEL_MISSING: (404, "NOT_FOUND", "models/{model} is not found.", None),
    VendorFault.RATE_LIMITED: (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted.", None),
    VendorFault.SERVER_ERROR: (500, "INTERNAL", "An internal error has occurred.", None),
    VendorFault.BAD_REQUEST: (400, "INVALID_ARGUMENT", "Something is wrong.", None),
    VendorFault.CONTEXT_TOO_LONG: (
        400,
        "INVALID_ARGUMENT",
        "The input token count (9) exceeds the maximum (8).",
        None,
    ),
}


def count_tokens(*texts: str) -> int:
    """An estimate of the token count, at four characters per token."""
    return sum(len(text) for text in texts) // 4
