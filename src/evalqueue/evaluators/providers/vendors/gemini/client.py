"""Gemini, by API key (Gemini API) or by a Google Cloud credentials file (Vertex AI).

A provider has one client, which stays open and does not retry. Gemini has no name for a schema, so
the schema's `title` contains it. Reasoning ("thoughts") is billed as output and counts towards
`max_output_tokens`, so `output_tokens` includes it, as for the other vendors.
"""

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import google.auth
import google.auth.exceptions
from google import genai
from google.auth.credentials import Credentials
from google.genai import errors, types
from pydantic import ValidationError

from evalqueue.evaluators.providers import (
    answer_bounds,
    dialect,
)
from evalqueue.evaluators.providers.answer_bounds import AnswerRefused
from evalqueue.evaluators.providers.batching.files import FileBatches
from evalqueue.evaluators.providers.dialect import RequestDialect
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import (
    Completion,
    CompletionRequest,
    LlmCredential,
)
from evalqueue.evaluators.providers.replies import vendor_errors, vendor_limits
from evalqueue.evaluators.providers.spans import ConventionalNames
from evalqueue.evaluators.providers.vendors.gemini import answers, faults, requests
from evalqueue.evaluators.providers.vendors.gemini.answers import GeminiAnswer
from evalqueue.evaluators.providers.vendors.gemini.batches import GeminiBatchApi
from evalqueue.hosts import is_loopback

_CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class GeminiProvider:
    """One Gemini model behind one credential."""

    def __init__(
        self,
        client: genai.Client,
        *,
        session: aiohttp.ClientSession,
        model: str,
        credential: str | None,
        endpoint: str = "",
    ) -> None:
        """Use `open` or `open_vertex`. `credential` is a secret that is removed from messages."""
        self._client = client
        self._session = session
        self._model = model
        self._secret = credential
        self._credential = LlmCredential.of(
            self.name, model, endpoint=endpoint, secret=credential or ""
        )
        self._endpoint = endpoint
        self._dialect = RequestDialect(limits=("maxOutputTokens",))

    @classmethod
    async def open(cls, *, model: str, api_key: str, base_url: str | None = None) -> Self:
        """The Gemini API, by key."""

        def client(session: aiohttp.ClientSession) -> genai.Client:
            options = _http_options(session, base_url=base_url)
            return genai.Client(vertexai=False, api_key=api_key, http_options=options)

        is_here = base_url is not None and is_loopback(urlsplit(base_url).hostname or "")
        return await cls._open(
            client, model=model, credential=api_key, is_here=is_here, endpoint=base_url or ""
        )

    @classmethod
    async def open_vertex(cls, *, model: str, project: str | None, location: str) -> Self:
        """Vertex AI, by the credentials file that GOOGLE_APPLICATION_CREDENTIALS names.

        Raises:
            ProviderError: the file can't be used.
        """

        def client(session: aiohttp.ClientSession) -> genai.Client:
            credentials, found = _credentials()
            if not (project or found):
                text = "gemini: the credentials file names no project: set GOOGLE_CLOUD_PROJECT"
                raise ProviderError(CallOutcome.AUTH, text)
            return genai.Client(
                vertexai=True,
                credentials=credentials,
                project=project or found,
                location=location,
                http_options=_http_options(session),
            )

        endpoint = f"vertex:{location}:{project or ''}"
        return await cls._open(
            client, model=model, credential=None, is_here=False, endpoint=endpoint
        )

    @classmethod
    async def _open(
        cls,
        make_client: Callable[[aiohttp.ClientSession], genai.Client],
        *,
        model: str,
        credential: str | None,
        is_here: bool,
        endpoint: str,
    ) -> Self:
        # We make the session, since the SDK makes it in a way that aiohttp has deprecated. The
        # environment's proxies are used only if there are any, because aiohttp then reads .netrc
        # in a thread at every call. They are never used for loopback, which they can't reach.
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            trust_env=bool(urllib.request.getproxies()) and not is_here,
            headers=answer_bounds.REQUEST_HEADERS,
            middlewares=(_checked,),
            response_class=_BoundedResponse,
        )
        async with AsyncExitStack() as on_failure:
            on_failure.push_async_callback(session.close)
            # In a thread: reading certificates would block the event loop.
            client = await asyncio.to_thread(make_client, session)
            on_failure.pop_all()
        return cls(client, session=session, model=model, credential=credential, endpoint=endpoint)

    @property
    def name(self) -> str:
        return "gemini"

    @property
    def model(self) -> str:
        return self._model

    @property
    def credential(self) -> LlmCredential:
        return self._credential

    @property
    def conventional_names(self) -> ConventionalNames:
        is_vertex = self._endpoint.startswith("vertex:")
        return ConventionalNames(
            provider="gcp.vertex_ai" if is_vertex else "gcp.gemini", operation="generate_content"
        )

    @property
    def batches(self) -> FileBatches:
        return FileBatches(
            GeminiBatchApi(
                self._client,
                self._session,
                self,
                address=self._endpoint,
                api_key=self._secret or "",
            )
        )

    def body(self, request: CompletionRequest, /) -> dict[str, Any]:
        """A request of a batch, by what the model is known to accept."""
        system = requests.system_text(request, self._dialect)
        return {
            "contents": [{"parts": [{"text": request.prompt}], "role": "user"}],
            **(
                {"systemInstruction": {"parts": [{"text": system}], "role": "user"}}
                if system
                else {}
            ),
            **requests.top_level(request),
            "generationConfig": requests.generation_config(request, self._dialect),
        }

    def completion(self, text: str, /) -> Completion:
        """Read a response of a batch; see `GenerateRequests`."""
        answer = answers.read(text)
        if answer.error is not None:
            raise self.refused(
                errors.APIError(faults.error_code(answer.error), {"error": answer.error})
            )
        return self._completion(answer, {self._dialect.limits[0]: 0}, 0.0)

    def refused(self, error: errors.APIError, /) -> ProviderError:
        """The error of a refusal, without the credential."""
        return self._refused(error, {})

    def error(self, outcome: CallOutcome, text: str, /) -> ProviderError:
        """An error with a message of ours."""
        return self._error(outcome, text)

    async def complete(self, request: CompletionRequest, *, timeout: float) -> Completion:
        """Make one attempt; see `Provider.complete`."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout):
                answer, parameters = await self._ask(request, timeout)
        except TimeoutError as error:
            raise self._error(CallOutcome.TIMEOUT, f"no answer within {timeout:g} s") from error
        except AnswerRefused as error:
            text = vendor_errors.message(
                self.name, error.outcome, str(error), credential=self._secret
            )
            raise error.as_provider_error(text) from None
        except (aiohttp.ClientError, google.auth.exceptions.TransportError) as error:
            raised = self._error(CallOutcome.TRANSIENT, f"no connection: {error}")
            raised.is_answer_lost = vendor_errors.is_answer_lost(error)
            raise raised from error
        except google.auth.exceptions.GoogleAuthError as error:
            raise self._error(CallOutcome.AUTH, str(error)) from None
        except (errors.UnknownApiResponseError, json.JSONDecodeError, ValidationError) as error:
            text = f"the answer is not Gemini's: {error}"
            raised = self._error(CallOutcome.TRANSIENT, text)
            raised.is_answer_lost = True
            raise raised from None
        latency_ms = (time.perf_counter() - started) * 1000
        return self._completion(answer, parameters, latency_ms)

    async def aclose(self) -> None:
        await self._session.close()
        await self._client.aio.aclose()
        self._client.close()

    async def _ask(
        self, request: CompletionRequest, timeout: float
    ) -> tuple[GeminiAnswer, Mapping[str, Any]]:
        """Send the request. Repeat it only if the model does not accept one of its parameters."""
        lessons = 0
        while True:
            sent = self._dialect
            body = requests.generation_config(request, sent)
            parameters = requests.parameters_sent(body, request)
            try:
                response = await self._client.aio.models.generate_content(  # pyright: ignore[reportUnknownMemberType]  # its `contents` admits PIL images, which are not installed
                    model=self._model,
                    contents=request.prompt,
                    config=requests.config(request, sent, body, timeout),
                )
            except errors.APIError as error:
                # The SDK's message may contain the credential, so the traceback must not show it.
                failed = self._refused(error, parameters, len(request.system) + len(request.prompt))
                learnt = self._lesson(error, sent)
            else:
                raw = response.sdk_http_response
                answer = answers.read((raw.body if raw else None) or "")
                if answer.error is None:
                    return answer, parameters
                error = errors.APIError(faults.error_code(answer.error), {"error": answer.error})
                failed = self._refused(error, parameters, len(request.system) + len(request.prompt))
                learnt = None
            if learnt is None or lessons == _MAX_LESSONS:
                raise failed
            self._dialect = learnt
            lessons += 1

    def _lesson(self, error: errors.APIError, sent: RequestDialect) -> RequestDialect | None:
        """What the model accepts by this error. None: it teaches nothing."""
        if error.code != _PARAMETER_FAULT:
            return None
        refused = dialect.refused(faults.without_path(error.message or ""))
        return self._dialect.without(refused, sent=sent) if refused else None

    def _completion(
        self, answer: GeminiAnswer, parameters: Mapping[str, Any], latency_ms: float
    ) -> Completion:
        if answer.outcome is not CallOutcome.OK:
            raise ProviderError(
                answer.outcome,
                self._message(answer.outcome, f"no whole answer: {answer.reason}"),
                answer=answer.text or None,
                usage=answer.usage,
                request_id=answer.request_id,
                parameters=parameters,
                is_billed=answer.is_billed,
                at_ceiling=self._dialect.is_ceiling(parameters[self._dialect.limits[0]]),
            )
        return Completion(
            text=answer.text,
            model=answer.model or self._model,
            usage=answer.usage,
            latency_ms=latency_ms,
            request_id=answer.request_id,
            parameters=parameters,
        )

    def _refused(
        self, error: errors.APIError, parameters: Mapping[str, Any], characters: int = 0
    ) -> ProviderError:
        text = error.message or str(error)
        details = faults.details_of(error)
        outcome = faults.classify(
            error.code, error.status or "", text, details, characters=characters
        )
        return ProviderError(
            outcome,
            self._message(outcome, f"HTTP {error.code} {error.status or ''}: {text}"),
            retry_after=faults.retry_after(details),
            parameters=parameters,
            limits=vendor_limits.limits_of_quotas(faults.quotas(details)),
            is_ambiguous=(
                outcome is CallOutcome.AUTH
                and error.code == _FORBIDDEN
                and error.status != "PERMISSION_DENIED"
                and not details
            ),
        )

    def _error(self, outcome: CallOutcome, text: str) -> ProviderError:
        return ProviderError(outcome, self._message(outcome, text))

    def _message(self, outcome: CallOutcome, text: str) -> str:
        return vendor_errors.message(self.name, outcome, text, credential=self._secret)


_MAX_LESSONS = 8
_PARAMETER_FAULT = 400
_FORBIDDEN = 403


class _BoundedResponse(aiohttp.ClientResponse):
    """A response whose body is read up to a limit."""

    async def read(self) -> bytes:
        if self._body is None:
            body = bytearray()
            try:
                async for chunk in self.content.iter_any():
                    body += chunk
                    answer_bounds.check_size(len(body))
            except BaseException:
                self.close()
                raise
            self._body = bytes(body)
        return await super().read()


async def _checked(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    response = await handler(request)
    try:
        answer_bounds.check_head(response.status, response.headers)
    except AnswerRefused:
        response.close()
        raise
    return response


def _http_options(
    session: aiohttp.ClientSession, *, base_url: str | None = None
) -> types.HttpOptions:
    return types.HttpOptions(
        base_url=base_url,
        aiohttp_client=session,
        retry_options=types.HttpRetryOptions(attempts=1),
    )


def _credentials() -> tuple[Credentials, str | None]:
    """What the credentials file holds, and the project that it names, if it names one."""
    try:
        return google.auth.default(scopes=[_CLOUD_SCOPE])  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # google.auth has no annotations
    except (google.auth.exceptions.DefaultCredentialsError, ValueError) as error:
        text = f"gemini: GOOGLE_APPLICATION_CREDENTIALS can't be used: {error}"
        raise ProviderError(CallOutcome.AUTH, text[: vendor_errors.TEXT_LIMIT]) from error
