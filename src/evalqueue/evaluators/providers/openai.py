"""OpenAI, Azure OpenAI and every server that speaks OpenAI's chat completions.

A provider has one client of the SDK, which stays open and does not retry, and beside it a
connection of its own for calls. Responses are read by `chat_completions` instead of the SDK's
models: compatible servers leave out much that the SDK requires.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import httpx2
from openai import AsyncAzureOpenAI, AsyncOpenAI, DefaultAioHttpClient
from pydantic_core import PydanticSerializationError

from evalqueue.evaluators.providers import (
    answer_bounds,
    dialect,
)
from evalqueue.evaluators.providers.answer_bounds import AnswerRefused
from evalqueue.evaluators.providers.batching.files import FileBatches
from evalqueue.evaluators.providers.batching.openai import OpenAIBatchApi
from evalqueue.evaluators.providers.chat_completions import answers
from evalqueue.evaluators.providers.chat_completions.answers import ChatAnswer
from evalqueue.evaluators.providers.chat_completions.endpoint import ChatEndpoint
from evalqueue.evaluators.providers.chat_completions.faults import ErrorBody
from evalqueue.evaluators.providers.dialect import AnswerFormat, RequestDialect
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import (
    Completion,
    CompletionRequest,
    LlmCredential,
    VendorLimits,
    schema_in_prompt,
)
from evalqueue.evaluators.providers.replies import vendor_errors, vendor_limits
from evalqueue.evaluators.providers.spans import ConventionalNames
from evalqueue.hosts import is_loopback

OPENAI_URL = "https://api.openai.com/v1"


_MAX_LESSONS = 8
_FAULT = 400  # the first status of errors


@dataclass(frozen=True, slots=True, kw_only=True)
class _Response:
    """An answer, and what was asked for it."""

    answer: ChatAnswer
    request_id: str | None
    parameters: Mapping[str, Any]
    at_ceiling: bool
    limits: VendorLimits | None


class OpenAIProvider:
    """One model behind the chat-completions protocol."""

    def __init__(
        self,
        client: AsyncOpenAI,
        *,
        name: str,
        model: str,
        credential: str,
        newest: bool,
        batch_model: str | None = None,
        not_judged: str | None = None,
    ) -> None:
        """Use `open` or `open_azure`.

        Args:
            client: of the endpoint.
            name: of the provider type.
            model: the model or deployment.
            credential: a secret that is removed from messages.
            newest: whether `max_completion_tokens` is known there.
            batch_model: what answers batches. None: the same as live calls.
            not_judged: how a refusal begins that means that there is no key (`NO_KEY`).
        """
        self._client = client
        self._endpoint = ChatEndpoint.of(client, model)
        self._name = name
        self._model = model
        self._batch_model = batch_model or model
        self._secret = credential
        self._not_judged = not_judged
        self._credential = LlmCredential.of(
            name, model, endpoint=str(client.base_url), secret=credential
        )
        limits = ("max_completion_tokens", "max_tokens")
        self._dialect = RequestDialect(limits=limits if newest else limits[::-1])

    @classmethod
    def open(
        cls,
        *,
        model: str,
        api_key: str,
        name: str,
        base_url: str | None = None,
        not_judged: str | None = None,
    ) -> Self:
        """OpenAI itself or, with a `base_url`, any compatible server."""
        url = base_url or OPENAI_URL
        client = AsyncOpenAI(
            api_key=api_key,
            base_url=url,
            max_retries=0,
            http_client=_http_client(url),
        )
        newest = urlsplit(url).hostname == urlsplit(OPENAI_URL).hostname
        return cls(
            client,
            name=name,
            model=model,
            credential=api_key,
            newest=newest,
            not_judged=not_judged,
        )

    @classmethod
    def open_azure(
        cls,
        *,
        deployment: str,
        api_key: str,
        endpoint: str,
        api_version: str,
        name: str,
        batch_deployment: str | None = None,
    ) -> Self:
        """Azure OpenAI, where a deployment's name stands for the model."""
        client = AsyncAzureOpenAI(
            api_key=api_key,
            azure_endpoint=endpoint,
            api_version=api_version,
            max_retries=0,
            http_client=_http_client(endpoint),
        )
        return cls(
            client,
            name=name,
            model=deployment,
            credential=api_key,
            newest=True,
            batch_model=batch_deployment,
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def model(self) -> str:
        return self._model

    @property
    def credential(self) -> LlmCredential:
        return self._credential

    @property
    def conventional_names(self) -> ConventionalNames:
        is_azure = isinstance(self._client, AsyncAzureOpenAI)
        return ConventionalNames(provider="azure.ai.openai" if is_azure else self._name)

    @property
    def batches(self) -> FileBatches:
        is_azure = isinstance(self._client, AsyncAzureOpenAI)
        return FileBatches(OpenAIBatchApi(self._client, self, is_azure=is_azure))

    def body(self, request: CompletionRequest, /) -> dict[str, Any]:
        """A request of a batch, by what the endpoint is known to accept."""
        return {**self._body(request, self._dialect), "model": self._batch_model}

    def completion(self, text: str, request_id: str | None, /) -> Completion:
        """Read a response of a batch; see `ChatRequests`."""
        answer = answers.read(text)
        if answer.fault is not None:
            raise self.refused(answer.fault, {})
        response = _Response(
            answer=answer, request_id=request_id, parameters={}, at_ceiling=False, limits=None
        )
        return self._completion(response, 0.0)

    def refused(self, fault: ErrorBody, headers: Mapping[str, str], /) -> ProviderError:
        """The error of a refusal, without the credential."""
        return self._refused(fault, headers, {})

    def error(self, outcome: CallOutcome, text: str, /) -> ProviderError:
        """An error with a message of ours."""
        return self._error(outcome, text)

    async def complete(self, request: CompletionRequest, *, timeout: float) -> Completion:
        """Make one attempt; see `Provider.complete`."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout):
                response = await self._ask(request)
        except TimeoutError as error:
            raise self._late(timeout) from error
        except AnswerRefused as error:
            text = self._message(error.outcome, str(error))
            raise error.as_provider_error(text) from None
        except aiohttp.ClientError as error:
            raised = self._error(CallOutcome.TRANSIENT, f"no connection: {error}")
            raised.is_answer_lost = vendor_errors.is_answer_lost(error)
            raise raised from error
        except PydanticSerializationError as error:
            raise self._error(CallOutcome.BAD_REQUEST, f"the prompt is not text: {error}") from None
        latency_ms = (time.perf_counter() - started) * 1000
        return self._completion(response, latency_ms)

    async def aclose(self) -> None:
        await self._endpoint.aclose()
        await self._client.close()

    async def _ask(self, request: CompletionRequest) -> _Response:
        """Send the request. Repeat it only if the server does not accept one of its parameters."""
        lessons = 0
        while True:
            sent = self._dialect
            body = self._body(request, sent)
            response = await self._endpoint.post(body)
            if response.status < _FAULT:
                answer = answers.read(response.text)
                fault = answer.fault
                if fault is None:
                    return _Response(
                        answer=answer,
                        request_id=response.headers.get("x-request-id"),
                        parameters=_parameters(body),
                        at_ceiling=sent.is_ceiling(request.max_output_tokens),
                        limits=vendor_limits.limits_in_headers(response.headers),
                    )
            else:
                fault = ErrorBody.read(response.status, response.text)
            failed = self._refused(fault, response.headers, _parameters(body))
            learnt = self._lesson(fault, sent)
            if learnt is None or lessons == _MAX_LESSONS:
                raise failed
            self._dialect = learnt
            lessons += 1

    def _body(self, request: CompletionRequest, dialect: RequestDialect) -> dict[str, Any]:
        body: dict[str, Any] = {
            **request.model_settings,
            "model": self._model,
            "messages": [
                {"role": "system", "content": _system(request, dialect)},
                {"role": "user", "content": request.prompt},
            ],
            **_response_format(request, dialect),
            dialect.limits[0]: dialect.output_limit(request.max_output_tokens),
        }
        if request.temperature is not None and dialect.temperature:
            body["temperature"] = request.temperature
        return body

    def _lesson(self, fault: ErrorBody, sent: RequestDialect) -> RequestDialect | None:
        """What the endpoint accepts by this fault. None: it teaches nothing."""
        if not fault.is_about_request:
            return None
        refused = dialect.refused(fault.text, param=fault.param)
        return self._dialect.without(refused, sent=sent) if refused else None

    def _completion(self, response: _Response, latency_ms: float) -> Completion:
        answer = response.answer
        request_id = response.request_id or answer.request_id
        if answer.outcome is not CallOutcome.OK:
            outcome = answer.outcome
            if self._not_judged and answer.reason.startswith(self._not_judged):
                outcome = CallOutcome.NO_KEY
            raise ProviderError(
                outcome,
                self._message(outcome, answer.reason),
                answer=answer.text or None,
                usage=answer.usage,
                request_id=request_id,
                parameters=response.parameters,
                at_ceiling=response.at_ceiling,
                is_billed=answer.is_billed,
            )
        return Completion(
            text=answer.text,
            model=answer.model or self._model,
            usage=answer.usage,
            latency_ms=latency_ms,
            request_id=request_id,
            parameters=response.parameters,
            limits=response.limits,
        )

    def _refused(
        self, fault: ErrorBody, headers: Mapping[str, str], parameters: Mapping[str, Any]
    ) -> ProviderError:
        outcome = fault.outcome
        return ProviderError(
            outcome,
            self._message(outcome, f"HTTP {fault.status}: {fault.text}"),
            retry_after=vendor_errors.retry_after_in_headers(headers, now=datetime.now(UTC)),
            request_id=headers.get("x-request-id"),
            parameters=parameters,
            limits=(
                vendor_limits.limits_in_message(fault.text)
                or vendor_limits.limits_in_headers(headers)
            ),
            is_ambiguous=fault.is_ambiguous,
        )

    def _late(self, timeout: float) -> ProviderError:
        return self._error(CallOutcome.TIMEOUT, f"no answer within {timeout:g} s")

    def _error(self, outcome: CallOutcome, text: str) -> ProviderError:
        return ProviderError(outcome, self._message(outcome, text))

    def _message(self, outcome: CallOutcome, text: str) -> str:
        return vendor_errors.message(self._name, outcome, text, credential=self._secret)


def _http_client(url: str) -> DefaultAioHttpClient:
    """Uses the environment's proxies, except for loopback, which they can't reach. NO_PROXY has the
    same effect. Certificates still come from the environment.
    """
    host = urlsplit(url).hostname or ""
    mounts = {f"all://[{host}]" if ":" in host else f"all://{host}": None}
    return DefaultAioHttpClient(
        mounts=mounts if is_loopback(host) else None,
        follow_redirects=False,
        headers=answer_bounds.REQUEST_HEADERS,
        event_hooks={"response": [_bound]},
    )


async def _bound(response: httpx2.Response) -> None:
    answer_bounds.check_head(response.status_code, response.headers)
    if isinstance(response.stream, httpx2.AsyncByteStream):
        # The results of a batch are the only file that is read, line by line.
        is_file = response.request.url.path.endswith("/content")
        limit = answer_bounds.FILE_MAX_BYTES if is_file else answer_bounds.ANSWER_MAX_BYTES
        response.stream = _BoundedBody(response.stream, limit)


class _BoundedBody(httpx2.AsyncByteStream):
    """A body that is read up to a limit."""

    def __init__(self, body: httpx2.AsyncByteStream, limit: int) -> None:
        self._body = body
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._body:
            size += len(chunk)
            answer_bounds.check_size(size, self._limit)
            yield chunk

    async def aclose(self) -> None:
        await self._body.aclose()


def _system(request: CompletionRequest, dialect: RequestDialect) -> str:
    if dialect.format is AnswerFormat.JSON_SCHEMA:
        return request.system
    return schema_in_prompt(request)


def _response_format(request: CompletionRequest, dialect: RequestDialect) -> dict[str, Any]:
    match dialect.format:
        case AnswerFormat.JSON_SCHEMA:
            schema = {
                "name": request.schema_name, "strict": True, "schema": dict(request.schema)
            }  # fmt: skip
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        case AnswerFormat.JSON_OBJECT:
            return {"response_format": {"type": "json_object"}}
        case AnswerFormat.TEXT:
            return {}


def _parameters(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says besides its model and messages. Of a schema, only that there is one."""
    parameters = {name: value for name, value in body.items() if name not in {"model", "messages"}}
    if "response_format" in parameters:
        parameters["response_format"] = parameters["response_format"]["type"]
    return parameters
