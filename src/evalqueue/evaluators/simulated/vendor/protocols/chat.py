"""Chat completions: the protocol of OpenAI, and of Azure."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from evalqueue.evaluators.simulated.vendor.answers import Json, SimulatedQuestion
from evalqueue.evaluators.simulated.vendor.limits import LimitRefusal, RetryAdvice, retry_headers
from evalqueue.evaluators.simulated.vendor.protocols.protocol import (
    MODEL,
    VendorFault,
    VendorReply,
    VendorRequest,
    count_tokens,
    schema_in_text,
)

_FAULTS = {
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
                status, code, kind, message = _FAULTS[fault]
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
        return schema_in_text(system)

    def parameters(self) -> frozenset[str]:
        given = {
            "json_schema": self.response_format and self.response_format.json_schema,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "max_completion_tokens": self.max_completion_tokens,
        }
        return frozenset(name for name, value in given.items() if value is not None)
