"""OpenAI, Azure OpenAI and every server that speaks OpenAI's chat completions.

A provider has one native async client on aiohttp, which stays open and does not retry (a client per
call costs ten times the call). Answers are parsed with small models of our own instead of the
SDK's: compatible servers leave out much that the SDK requires.
"""

import asyncio
import json
import re
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self
from urllib.parse import urlsplit

from openai import (
    APIConnectionError,
    APIStatusError,
    AsyncAzureOpenAI,
    AsyncOpenAI,
    DefaultAioHttpClient,
    omit,
)
from openai.types.shared_params import ResponseFormatJSONObject, ResponseFormatJSONSchema
from pydantic import BaseModel, ValidationError

from evalqueue.evaluators.providers import vendor_errors, vendor_limits
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import (
    Completion,
    CompletionRequest,
    LlmCredential,
    Usage,
    VendorLimits,
)
from evalqueue.hosts import is_loopback

OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dialect:
    """The parameters that a server is known to accept. The first of each list is used."""

    formats: tuple[str, ...] = ("json_schema", "json_object")
    limits: tuple[str, ...] = ("max_completion_tokens", "max_tokens")
    temperature: bool = True


class OpenAIProvider:
    """One model behind the chat-completions protocol."""

    def __init__(
        self, client: AsyncOpenAI, *, name: str, model: str, credential: str, newest: bool
    ) -> None:
        """Use `open` or `open_azure`; `newest`: whether `max_completion_tokens` is known there."""
        self._client = client
        self._name = name
        self._model = model
        self._secret = credential
        self._credential = LlmCredential.of(
            name, model, endpoint=str(client.base_url), secret=credential
        )
        limits = ("max_completion_tokens", "max_tokens")
        self._dialect = _Dialect(limits=limits if newest else limits[::-1])

    @classmethod
    def open(cls, *, model: str, api_key: str, name: str, base_url: str | None = None) -> Self:
        """OpenAI itself or, with a `base_url`, any compatible server."""
        url = base_url or OPENAI_URL
        client = AsyncOpenAI(
            api_key=api_key,
            base_url=url,
            max_retries=0,
            http_client=_http_client(url),
        )
        newest = urlsplit(url).hostname == urlsplit(OPENAI_URL).hostname
        return cls(client, name=name, model=model, credential=api_key, newest=newest)

    @classmethod
    def open_azure(
        cls, *, deployment: str, api_key: str, endpoint: str, api_version: str, name: str
    ) -> Self:
        """Azure OpenAI, where a deployment's name stands for the model."""
        client = AsyncAzureOpenAI(
            api_key=api_key,
            azure_endpoint=endpoint,
            api_version=api_version,
            max_retries=0,
            http_client=_http_client(endpoint),
        )
        return cls(client, name=name, model=deployment, credential=api_key, newest=True)

    @property
    def name(self) -> str:
        return self._name

    @property
    def model(self) -> str:
        return self._model

    @property
    def credential(self) -> LlmCredential:
        return self._credential

    async def complete(self, request: CompletionRequest, *, timeout: float) -> Completion:
        """Make one attempt; see `Provider.complete`."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout):
                body, request_id, limits = await self._ask(request, timeout)
        except TimeoutError as error:
            raise self._late(timeout) from error
        except APIConnectionError as error:
            if _waited_in_vain(error):
                raise self._late(timeout) from error
            text = f"no connection: {error.__cause__ or error}"
            raise self._error(CallOutcome.TRANSIENT, text) from error
        except APIStatusError as error:
            # The SDK's message may contain the credential, so the traceback must not show it.
            raise self._refused(error) from None
        except UnicodeEncodeError as error:
            raise self._error(CallOutcome.BAD_REQUEST, f"the prompt is not text: {error}") from None
        latency_ms = (time.perf_counter() - started) * 1000
        return replace(self._completion(body, request_id, latency_ms), limits=limits)

    async def aclose(self) -> None:
        await self._client.close()

    async def _ask(
        self, request: CompletionRequest, timeout: float
    ) -> tuple[str, str | None, VendorLimits | None]:
        """Send the request. Repeat it only if the server does not know one of its parameters."""
        while True:
            dialect = self._dialect
            try:
                response = await self._client.chat.completions.with_raw_response.create(
                    model=self._model,
                    messages=[
                        {"role": "system", "content": _system(request, dialect)},
                        {"role": "user", "content": request.prompt},
                    ],
                    response_format=_response_format(request, dialect),
                    temperature=(
                        omit
                        if request.temperature is None or not dialect.temperature
                        else request.temperature
                    ),
                    max_completion_tokens=(
                        request.max_output_tokens
                        if dialect.limits[0] == "max_completion_tokens"
                        else omit
                    ),
                    max_tokens=(
                        request.max_output_tokens if dialect.limits[0] == "max_tokens" else omit
                    ),
                    timeout=timeout,
                )
            except APIStatusError as error:
                learned = _lesson(dialect, error)
                if learned is None:
                    raise
                self._dialect = learned
            else:
                limits = vendor_limits.limits_in_headers(response.headers)
                return response.text, response.request_id, limits

    def _completion(self, body: str, request_id: str | None, latency_ms: float) -> Completion:
        try:
            answer = _Answer.model_validate_json(body)
        except ValidationError:
            text = f"the answer is not a chat completion: {body}"
            raise self._error(CallOutcome.TRANSIENT, text) from None
        choice = answer.choices[0] if answer.choices else None
        if choice is None:
            raise self._error(CallOutcome.TRANSIENT, f"the answer holds no choice: {body}")
        usage = _usage(answer.usage)
        text = choice.message.content or ""
        outcome = _outcome_of(choice)
        if outcome is not CallOutcome.OK:
            raise ProviderError(
                outcome,
                self._message(outcome, choice.message.refusal or f"answer cut: {outcome}"),
                answer=text or choice.message.refusal,
                usage=usage,
                request_id=request_id or answer.id,
            )
        return Completion(
            text=text,
            model=answer.model or self._model,
            usage=usage,
            latency_ms=latency_ms,
            request_id=request_id or answer.id,
        )

    def _refused(self, error: APIStatusError) -> ProviderError:
        fault = _Fault.of(error)
        outcome = _classify(fault)
        return ProviderError(
            outcome,
            self._message(outcome, f"HTTP {fault.status}: {fault.text}"),
            retry_after=vendor_errors.retry_after_in_headers(
                error.response.headers, now=datetime.now(UTC)
            ),
            request_id=error.request_id,
            limits=(
                vendor_limits.limits_in_message(fault.text)
                or vendor_limits.limits_in_headers(error.response.headers)
            ),
            is_ambiguous=_is_ambiguous(fault, outcome),
        )

    def _late(self, timeout: float) -> ProviderError:
        return self._error(CallOutcome.TIMEOUT, f"no answer within {timeout:g} s")

    def _error(self, outcome: CallOutcome, text: str) -> ProviderError:
        return ProviderError(outcome, self._message(outcome, text))

    def _message(self, outcome: CallOutcome, text: str) -> str:
        return vendor_errors.message(self._name, outcome, text, credential=self._secret)


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _InputDetails(BaseModel):
    cached_tokens: int | None = None


class _OutputDetails(BaseModel):
    reasoning_tokens: int | None = None


class _Tokens(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Answer(BaseModel):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice]
    usage: _Tokens | None = None


def _http_client(url: str) -> DefaultAioHttpClient:
    """Uses the environment's proxies, except for loopback, which they can't reach. NO_PROXY has the
    same effect. Certificates still come from the environment.
    """
    host = urlsplit(url).hostname or ""
    if not is_loopback(host):
        return DefaultAioHttpClient()
    name = f"[{host}]" if ":" in host else host
    return DefaultAioHttpClient(mounts={f"all://{name}": None})


def _usage(tokens: _Tokens | None) -> Usage:
    if tokens is None:
        return Usage()
    inputs, outputs = tokens.prompt_tokens_details, tokens.completion_tokens_details
    return Usage(
        input_tokens=tokens.prompt_tokens,
        output_tokens=tokens.completion_tokens,
        cached_tokens=inputs.cached_tokens if inputs else None,
        reasoning_tokens=outputs.reasoning_tokens if outputs else None,
    )


def _outcome_of(choice: _Choice) -> CallOutcome:
    if choice.message.refusal:
        return CallOutcome.JUDGE_REFUSED
    if choice.finish_reason == "length":
        return CallOutcome.TRUNCATED
    if choice.finish_reason == "content_filter":
        return CallOutcome.CONTENT_FILTER
    return CallOutcome.OK


def _system(request: CompletionRequest, dialect: _Dialect) -> str:
    if dialect.formats[0] == "json_schema":
        return request.system
    return (
        f"{request.system}\n\nAnswer with one JSON object and nothing else. It follows this JSON "
        f"schema.\nSchema name: {request.schema_name}\n{json.dumps(dict(request.schema))}"
    )


def _response_format(
    request: CompletionRequest, dialect: _Dialect
) -> ResponseFormatJSONSchema | ResponseFormatJSONObject:
    if dialect.formats[0] == "json_object":
        return {"type": "json_object"}
    schema = {"name": request.schema_name, "strict": True, "schema": dict(request.schema)}
    return {"type": "json_schema", "json_schema": schema}  # pyright: ignore[reportReturnType]


class _InnerError(BaseModel):
    code: str | None = None


class _ErrorBody(BaseModel):
    code: str | int | None = None
    type: str | None = None
    message: str
    innererror: _InnerError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """The message of an error response, in any of the known formats."""

    status: int
    codes: frozenset[str]
    text: str

    @classmethod
    def of(cls, error: APIStatusError) -> Self:
        try:
            body = _ErrorBody.model_validate(error.body)
        except ValidationError:  # not OpenAI's format: shown unchanged
            text = str(error.body or error.message)
            return cls(status=error.status_code, codes=frozenset(), text=text)
        inner = body.innererror.code if body.innererror else None  # Azure
        known = frozenset(str(code) for code in (body.code, body.type, inner) if code)
        return cls(status=error.status_code, codes=known, text=body.message)


_BY_CODE = {
    "invalid_api_key": CallOutcome.AUTH,
    "insufficient_quota": CallOutcome.BILLING,
    "billing_hard_limit_reached": CallOutcome.BILLING,
    "billing_not_active": CallOutcome.BILLING,
    "model_not_found": CallOutcome.MODEL_MISSING,
    "DeploymentNotFound": CallOutcome.MODEL_MISSING,
    "context_length_exceeded": CallOutcome.CONTEXT_TOO_LONG,
    "exceed_context_size_error": CallOutcome.CONTEXT_TOO_LONG,
    "content_filter": CallOutcome.CONTENT_FILTER,
    "content_policy_violation": CallOutcome.CONTENT_FILTER,
    "ResponsibleAIPolicyViolation": CallOutcome.CONTENT_FILTER,
}
_BY_STATUS = {
    401: CallOutcome.AUTH,
    402: CallOutcome.BILLING,
    403: CallOutcome.AUTH,
    404: CallOutcome.MODEL_MISSING,
    408: CallOutcome.TRANSIENT,
    409: CallOutcome.TRANSIENT,
    413: CallOutcome.CONTEXT_TOO_LONG,
    429: CallOutcome.RATE_LIMITED,
}
_FORBIDDEN = 403
_TOO_MANY_REQUESTS = 429
_SERVER_FAULT = 500
_ABOUT_KEY = re.compile(
    r"api[ _-]?key|credential|permission|access[ _]token|not authorized|unauthorized|"
    r"does not have access|subscription|country|region",
    re.IGNORECASE,
)
_PARAMETER_CODES = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter"})
_PARAMETER_FAULTS = (400, 422)
_UNKNOWN = ("unsupported", "not support", "unknown", "unrecognized", "not permitted", "extra field")


def _classify(fault: _Fault) -> CallOutcome:
    for code in sorted(fault.codes & _BY_CODE.keys()):
        return _BY_CODE[code]
    if fault.status == _TOO_MANY_REQUESTS:
        if vendor_limits.is_too_large(fault.text):
            return CallOutcome.CONTEXT_TOO_LONG
        if vendor_limits.is_per_day(fault.text):
            return CallOutcome.BILLING
    if fault.status >= _SERVER_FAULT:
        return CallOutcome.TRANSIENT
    if fault.status in _PARAMETER_FAULTS and "context length" in fault.text.lower():
        return CallOutcome.CONTEXT_TOO_LONG  # vLLM and others give no code
    return _BY_STATUS.get(fault.status, CallOutcome.BAD_REQUEST)


def _is_ambiguous(fault: _Fault, outcome: CallOutcome) -> bool:
    """Whether an error may concern this call only: a gateway's 403, a parameter that is refused."""
    if outcome is CallOutcome.AUTH:
        # A page of a firewall has no codes, and speaks of permission as well.
        named = fault.codes and _ABOUT_KEY.search(" ".join((fault.text, *fault.codes)))
        return fault.status == _FORBIDDEN and not (named or fault.codes & _BY_CODE.keys())
    about_parameter = fault.codes & _PARAMETER_CODES or any(
        f"{word} parameter" in fault.text.lower() for word in _UNKNOWN
    )
    return outcome is CallOutcome.BAD_REQUEST and bool(about_parameter)


def _lesson(dialect: _Dialect, error: APIStatusError) -> _Dialect | None:
    """The parameter to leave out from now on. None: the error is not about a parameter."""
    if error.status_code not in _PARAMETER_FAULTS:
        return None
    text = f"{error.param or ''} {_Fault.of(error).text}".lower()
    formats, limits = dialect.formats[1:], dialect.limits[1:]
    # "Invalid schema for response_format" is our mistake: the server does support schemas.
    about_format = "response_format" in text or "json_schema" in text
    if formats and about_format and "invalid schema" not in text:
        return replace(dialect, formats=formats)
    if dialect.temperature and "temperature" in text:
        return replace(dialect, temperature=False)
    if limits and dialect.limits[0] in text and any(word in text for word in _UNKNOWN):
        return replace(dialect, limits=limits)
    return None


def _waited_in_vain(error: APIConnectionError) -> bool:
    """Whether time ran out; the SDK on aiohttp calls a refused connection a timeout, too."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, TimeoutError):
        cause = cause.__cause__
    return cause is not None
