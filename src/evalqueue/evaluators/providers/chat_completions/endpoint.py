"""The connection to an endpoint for chat completions: one POST for each call.

Its address and headers are those of the SDK, which makes all other requests. A call by the SDK
needs three times the CPU: it builds, copies and validates what is the same each time.
"""

import asyncio
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import httpx2
from openai import AsyncAzureOpenAI, AsyncOpenAI
from pydantic_core import to_json

from evalqueue.evaluators.providers import answer_bounds
from evalqueue.hosts import is_loopback

_IDLE_SECONDS = 5.0
"""After which a connection is closed, as by the SDK. Servers close theirs later."""
_SDK_DETAILS = "x-stainless-"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointResponse:
    """A response with any status."""

    status: int
    headers: Mapping[str, str]
    """Names are found in any case."""
    text: str


class ChatEndpoint:
    """The chat completions of one model at one address, with one credential."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """Nothing is connected before the first call."""
        self._url = url
        self._headers = headers
        self._proxy = _proxy(url)
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    @classmethod
    def of(cls, client: AsyncOpenAI, model: str) -> Self:
        """The endpoint that a client of the SDK would ask.

        Args:
            client: with a key as its credential.
            model: the deployment of Azure OpenAI.
        """
        path = "chat/completions"
        if isinstance(client, AsyncAzureOpenAI):
            path = f"deployments/{quote(model, safe='')}/{path}"
        query = urlencode({name: str(value) for name, value in client.default_query.items()})
        headers = {
            name: value
            for name, value in {**client.auth_headers, **client.default_headers}.items()
            if isinstance(value, str) and not name.lower().startswith(_SDK_DETAILS)
        }
        return cls(f"{client.base_url}{path}{query and '?'}{query}", headers)

    async def post(self, body: Mapping[str, Any]) -> EndpointResponse:
        """Send a request, and read the response.

        Raises:
            AnswerRefused: the response is not read.
            PydanticSerializationError: the body is not text.
            aiohttp.ClientError: there is no response.
        """
        content = to_json(body)
        session = self._session or await self._connect()
        async with session.post(
            self._url, data=content, allow_redirects=False, proxy=self._proxy
        ) as response:
            answer_bounds.check_head(response.status, response.headers)
            read = bytearray()
            async for chunk in response.content.iter_any():
                read += chunk
                answer_bounds.check_size(len(read))
        return EndpointResponse(
            status=response.status,
            headers=response.headers,
            text=_text(bytes(read), response.charset),
        )

    async def aclose(self) -> None:
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    async def _connect(self) -> aiohttp.ClientSession:
        # In a thread: reading certificates would block the event loop.
        is_encrypted = urlsplit(self._url).scheme == "https"
        tls = await asyncio.to_thread(httpx2.create_ssl_context) if is_encrypted else True
        if self._is_closed:
            raise RuntimeError("the connection is closed")
        if self._session is None:  # another call may have been quicker
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=tls, keepalive_timeout=_IDLE_SECONDS),
                headers={**self._headers, **answer_bounds.REQUEST_HEADERS},
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
            )
        return self._session


def _proxy(url: str) -> str | None:
    """The environment's proxy for an address. There is none for loopback, which it can't reach."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _text(body: bytes, charset: str | None) -> str:
    try:
        return body.decode(charset or "utf-8", "replace")
    except LookupError:  # no encoding has this name
        return body.decode("utf-8", "replace")
