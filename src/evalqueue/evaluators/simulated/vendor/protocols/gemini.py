"""`generateContent`: the protocol of Gemini."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from evalqueue.evaluators.simulated.vendor.answers import Json, SimulatedQuestion
from evalqueue.evaluators.simulated.vendor.limits import LimitRefusal, RetryAdvice
from evalqueue.evaluators.simulated.vendor.protocols.protocol import (
    MODEL,
    VendorFault,
    VendorReply,
    VendorRequest,
    count_tokens,
    schema_in_text,
)

_FAULTS = {
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
            name, schema = schema_in_text(system)
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
                code, status, message, reason = _FAULTS[fault]
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
