"""Gemini, by API key (Gemini API) or by a Google Cloud credentials file (Vertex AI).

A provider has one client, which stays open and does not retry. Gemini has no name for a schema, so
the schema's `title` contains it. Reasoning ("thoughts") is billed as output and counts towards
`max_output_tokens`, so `output_tokens` includes it, as for the other vendors.
"""

import asyncio
import json
import math
import re
import time
import urllib.request
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Self
from urllib.parse import urlsplit

import aiohttp
import google.auth
import google.auth.exceptions
from google import genai
from google.auth.credentials import Credentials
from google.genai import errors, types
from pydantic import BaseModel, ValidationError

from evalqueue.evaluators.providers import vendor_errors, vendor_limits
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import (
    Completion,
    CompletionRequest,
    LlmCredential,
    Usage,
)
from evalqueue.hosts import is_loopback

_CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_NO_TOOLS = types.AutomaticFunctionCallingConfig(disable=True)


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

    async def complete(self, request: CompletionRequest, *, timeout: float) -> Completion:
        """Make one attempt; see `Provider.complete`."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout):
                response = await self._client.aio.models.generate_content(  # pyright: ignore[reportUnknownMemberType]  # its `contents` admits PIL images, which are not installed
                    model=self._model, contents=request.prompt, config=_config(request, timeout)
                )
        except TimeoutError as error:
            raise self._error(CallOutcome.TIMEOUT, f"no answer within {timeout:g} s") from error
        except errors.APIError as error:
            # The SDK's message may contain the credential, so the traceback must not show it.
            raise self._refused(error) from None
        except (aiohttp.ClientError, google.auth.exceptions.TransportError) as error:
            raise self._error(CallOutcome.TRANSIENT, f"no connection: {error}") from error
        except google.auth.exceptions.GoogleAuthError as error:
            raise self._error(CallOutcome.AUTH, str(error)) from None
        except (errors.UnknownApiResponseError, json.JSONDecodeError, ValidationError) as error:
            text = f"the answer is not Gemini's: {error}"
            raise self._error(CallOutcome.TRANSIENT, text) from None
        return self._completion(response, (time.perf_counter() - started) * 1000)

    async def aclose(self) -> None:
        await self._session.close()
        await self._client.aio.aclose()
        self._client.close()

    def _completion(self, response: types.GenerateContentResponse, latency_ms: float) -> Completion:
        outcome, reason, text = _read(response)
        usage = _usage(response.usage_metadata)
        if outcome is not CallOutcome.OK:
            raise ProviderError(
                outcome,
                self._message(outcome, f"no whole answer: {reason}"),
                answer=text or None,
                usage=usage,
                request_id=response.response_id,
            )
        return Completion(
            text=text,
            model=response.model_version or self._model,
            usage=usage,
            latency_ms=latency_ms,
            request_id=response.response_id,
        )

    def _refused(self, error: errors.APIError) -> ProviderError:
        text = error.message or str(error)
        details = _details(error)
        outcome = _classify(error.code, error.status or "", text, details)
        return ProviderError(
            outcome,
            self._message(outcome, f"HTTP {error.code} {error.status or ''}: {text}"),
            retry_after=_retry_after(details),
            limits=vendor_limits.limits_of_quotas(_quotas(details)),
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


class _Violation(BaseModel):
    quotaId: str = ""  # noqa: N815  # the vendor's spelling
    quotaValue: str | int | float = ""  # noqa: N815  # the vendor's spelling


class _Detail(BaseModel):
    """One of the `google.rpc` details of an error: ErrorInfo has a reason, RetryInfo a delay,
    QuotaFailure the quotas that are used up."""

    reason: str | None = None
    retryDelay: str | None = None  # noqa: N815  # the vendor's spelling
    violations: list[_Violation] = []


class _Error(BaseModel):
    details: list[_Detail] = []


class _Envelope(_Error):
    error: _Error | None = None


_BLOCKED = frozenset(
    {
        types.FinishReason.SAFETY,
        types.FinishReason.PROHIBITED_CONTENT,
        types.FinishReason.BLOCKLIST,
        types.FinishReason.RECITATION,
        types.FinishReason.SPII,
        types.FinishReason.MODEL_ARMOR,
    }
)
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
_SERVER_FAULT = 500
_TOO_LONG = re.compile(r"token count .* exceeds|too many tokens", re.IGNORECASE)


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


def _config(request: CompletionRequest, timeout: float) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(
        system_instruction=request.system or None,
        temperature=request.temperature,
        max_output_tokens=request.max_output_tokens,
        response_mime_type="application/json",
        response_json_schema={"title": request.schema_name, **request.schema},
        automatic_function_calling=_NO_TOOLS,
        http_options=types.HttpOptions(timeout=math.ceil(timeout * 1000)),
    )


def _read(response: types.GenerateContentResponse) -> tuple[CallOutcome, str, str]:
    """How the answer ended, the vendor's name for that, and the text so far."""
    if not response.candidates:
        feedback = response.prompt_feedback
        blocked = feedback.block_reason if feedback else None
        return CallOutcome.CONTENT_FILTER, blocked.name if blocked else "no candidates", ""
    candidate = response.candidates[0]
    parts = (candidate.content.parts if candidate.content else None) or []
    text = "".join(part.text for part in parts if part.text and not part.thought)
    reason = candidate.finish_reason or types.FinishReason.STOP
    if reason in _BLOCKED:
        return CallOutcome.CONTENT_FILTER, reason.name, text
    if reason is types.FinishReason.MAX_TOKENS:
        return CallOutcome.TRUNCATED, reason.name, text
    if reason is not types.FinishReason.STOP and not text:
        return CallOutcome.TRANSIENT, reason.name, text
    return CallOutcome.OK, reason.name, text


def _usage(metadata: types.GenerateContentResponseUsageMetadata | None) -> Usage:
    if metadata is None:
        return Usage()
    answer, thoughts = metadata.candidates_token_count, metadata.thoughts_token_count
    known = [tokens for tokens in (answer, thoughts) if tokens is not None]
    return Usage(
        input_tokens=metadata.prompt_token_count,
        output_tokens=sum(known) if known else None,
        cached_tokens=metadata.cached_content_token_count,
        reasoning_tokens=thoughts,
    )


def _details(error: errors.APIError) -> list[_Detail]:
    try:
        body = _Envelope.model_validate(error.details)  # pyright: ignore[reportUnknownMemberType]  # untyped JSON
    except ValidationError:  # a proxy's page, not Gemini's error
        return []
    return (body.error or body).details


def _classify(code: int, status: str, text: str, details: list[_Detail]) -> CallOutcome:
    reasons = {detail.reason for detail in details}
    if reasons & {"API_KEY_INVALID", "API_KEY_EXPIRED"}:
        return CallOutcome.AUTH
    if "BILLING_DISABLED" in reasons or (
        status == "FAILED_PRECONDITION" and "billing" in text.lower()
    ):
        return CallOutcome.BILLING
    if status == "RESOURCE_EXHAUSTED":  # under 429 or 503
        is_daily = any(vendor_limits.is_per_day(name) for name, _ in _quotas(details))
        return CallOutcome.BILLING if is_daily else CallOutcome.RATE_LIMITED
    if code >= _SERVER_FAULT:
        return CallOutcome.TRANSIENT
    if status == "INVALID_ARGUMENT" and _TOO_LONG.search(text):
        return CallOutcome.CONTEXT_TOO_LONG
    return _BY_STATUS.get(code, CallOutcome.BAD_REQUEST)


def _retry_after(details: list[_Detail]) -> float | None:
    delays = [detail.retryDelay for detail in details if detail.retryDelay]
    return vendor_errors.retry_after_in_duration(delays[0]) if delays else None


def _quotas(details: list[_Detail]) -> list[tuple[str, str]]:
    """The names and values of the quotas that are used up."""
    return [(each.quotaId, str(each.quotaValue)) for one in details for each in one.violations]
