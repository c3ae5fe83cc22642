"""The guarded HTTP connection to a bot: the only place that connects, and that limits answers.

Every address is checked when a socket is made for it, so a name can't change between the check and
the connection. Redirects are not followed; cookies and proxies are not used. An answer that never
ends, is too long or breaks off is a `ChatbotError`, as is every other failure here.
"""

import asyncio
import contextlib
import io
import json
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.http_exceptions import ContentEncodingError

from evalqueue.codec import clean_text
from evalqueue.evaluators.chatbots.protocol import TEXT_LIMIT, ChatbotError, Fault
from evalqueue.evaluators.chatbots.targets import Credential, Target, TargetRefused

CONNECT_SECONDS = 10.0
LINE_LIMIT = 1024 * 1024  # bytes
ANSWER_LIMIT = 2 * 1024 * 1024  # bytes, after decompression

StreamLines = AsyncIterator[str]


class StreamLine:
    """Connections to one bot with one credential. The HTTP session opens with the first request."""

    def __init__(
        self,
        target: Target,
        credential: Credential | None = None,
        *,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """`resolver` resolves names. None: the system's resolver.

        Raises:
            TargetRefused: the credential belongs to another host.
        """
        if credential is not None and not credential.fits(target):
            raise TargetRefused(
                f"Credential {credential.name!r} belongs to {credential.host}, "
                f"not to {target.host}."
            )
        self.target = target
        self._token = _spelled(credential.token.get_secret_value()) if credential else None
        self._gate = _Gate(target=target, has_token=credential is not None)
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def stream(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> AsyncGenerator[StreamLines]:
        """POST JSON. Yields the lines of the answer, without line ends and without the token.

        Leaving the context early aborts the answer.

        Raises:
            ChatbotError: on entering the context, or while reading the lines.
        """
        url = f"{self.target.url}{path}"
        async with self._request("POST", url, _encoded(body), headers) as answer:
            await self._check_status(answer)
            async with aclosing(_lines(answer.chunks(), self._masked)) as lines:
                yield lines

    async def post(
        self,
        path: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str],
        *,
        is_answer: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> Mapping[str, Any]:
        """POST JSON. Returns the JSON object of the response, without the token.

        Args:
            is_answer: whether a response with an error status counts as an answer.

        Raises:
            ChatbotError: there is no such object.
        """
        url = f"{self.target.url}{path}"
        async with self._request("POST", url, _encoded(body), headers) as answer:
            if is_answer is None:
                await self._check_status(answer)
            async with aclosing(answer.chunks()) as chunks:
                body_bytes = b"".join([chunk async for chunk in chunks])
            text = self._masked(body_bytes.decode(errors="replace"))
            found = json_object(text)
            if found is not None and (answer.is_good or (is_answer and is_answer(found))):
                return found
            if not answer.is_good:
                raise self._refused(answer, text)
            raise ChatbotError(
                Fault.UNREADABLE,
                f"{self.target.host} answered with what is no JSON object",
                quote=self.shown(text),
                status=answer.status,
            )

    async def send(self, path: str, content: bytes, headers: Mapping[str, str]) -> int:
        """POST JSON as it is. Returns the status of the response, whose body is not read.

        Raises:
            ChatbotError: there was no response.
        """
        url = f"{self.target.url}{path}"
        async with self._request("POST", url, content, headers) as answer:
            return answer.status

    async def delete(self, path: str, headers: Mapping[str, str]) -> None:
        """DELETE a path. The content of the response is ignored.

        Args:
            path: relative to the root of the host, not to the address.

        Raises:
            ChatbotError: there was no response.
        """
        async with self._request("DELETE", f"{self.target.origin}{path}", None, headers):
            pass

    def storable(self, text: str) -> str:
        """A bot's text, fit to be stored: limited in length, without the token."""
        return clean_text(self._masked(text), limit=TEXT_LIMIT)

    def shown(self, text: str) -> str:
        """A bot's text for a quote: one line, limited in length, without the token."""
        return clean_text(" ".join(self._masked(text).split()), limit=_SHOWN_LIMIT) or "nothing"

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        url: str,
        content: bytes | None,
        headers: Mapping[str, str],
    ) -> "AsyncGenerator[_Answer]":
        deadline = asyncio.get_running_loop().time() + self.target.reply_seconds
        with self._faults():
            async with asyncio.timeout_at(deadline):
                response = await self._opened().request(
                    method,
                    url,
                    data=None if content is None else io.BytesIO(content),
                    headers={"Content-Type": "application/json", **headers},
                    allow_redirects=False,
                )
        try:
            yield _Answer(
                response=response,
                host=self.target.host,
                deadline=deadline,
                faults=self._faults,
            )
        finally:
            response.close()  # and not its context manager, which waits until a request is sent

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    socket_factory=self._gate.open,
                    resolver=self._resolver,
                    use_dns_cache=False,
                    # A bot may close an idle connection at any time. Whether it has read a message
                    # that was sent then is unknown, so the message could not be sent again.
                    force_close=True,
                ),
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=CONNECT_SECONDS, sock_read=self.target.timeout_seconds
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "evalqueue"},
                trust_env=False,
            )
        return self._session

    async def _check_status(self, answer: "_Answer") -> None:
        if not answer.is_good:
            raise self._refused(answer, await answer.beginning())

    def _refused(self, answer: "_Answer", body: str) -> ChatbotError:
        status = answer.status
        text, quote = f"{self.target.host} answered HTTP {status}", self.shown(body)
        if 300 <= status < 400:  # noqa: PLR2004  redirection
            text = f"{text}: redirects are not followed, give the address it leads to"
            quote = self.shown(answer.response.headers.get("Location", ""))
        elif status in _CREDENTIAL_STATUSES:
            text = f"{text}: check the credential"
        return ChatbotError(Fault.HTTP_ERROR, text, quote=quote, status=status)

    @contextmanager
    def _faults(self) -> Generator[None]:
        """Converts aiohttp's errors to faults. The order matters: some errors match several."""
        host, target = self.target.host, self.target
        try:
            yield
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            raise ChatbotError(
                Fault.UNREACHABLE, f"{host} can't be reached: {_why(error)}"
            ) from None
        except aiohttp.SocketTimeoutError:
            raise ChatbotError(
                Fault.TIMEOUT, f"{host} said nothing for {target.timeout_seconds:g} s"
            ) from None
        except TimeoutError:
            raise ChatbotError(
                Fault.TIMEOUT, f"{host}'s answer had no end after {target.reply_seconds:g} s"
            ) from None
        except aiohttp.ClientResponseError as error:
            raise ChatbotError(
                Fault.UNREADABLE, f"{host}'s answer is not HTTP", quote=self.shown(error.message)
            ) from None
        except aiohttp.ClientPayloadError as error:
            if isinstance(error.__cause__, ContentEncodingError):
                text = f"{host}'s answer can't be decompressed"
                raise ChatbotError(Fault.UNREADABLE, text) from None
            raise ChatbotError(Fault.CONNECTION_LOST, f"{host}'s answer broke off") from None
        except aiohttp.ClientConnectionError as error:
            text = f"{host} closed the connection: {_why(error)}"
            raise ChatbotError(Fault.CONNECTION_LOST, text) from None

    def _masked(self, text: str) -> str:
        return self._token.sub("***", text) if self._token else text


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode()


def json_object(text: str) -> dict[str, object] | None:
    """The JSON object in a text. None: the text is anything else, e.g. a million brackets."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


_CREDENTIAL_STATUSES = (401, 403)
_SHOWN_LIMIT = 500  # characters
_BEGINNING = 4_000  # bytes
_MASKED_FROM = 8  # characters: shorter ones are found in ordinary words


class _Refused(OSError):
    """The address is not allowed. It is an OSError, so that the next address is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gate:
    """Makes the sockets. The final address of a connection is not known before."""

    target: Target
    has_token: bool

    def open(self, address: "tuple[Any, Any, int, str, tuple[Any, ...]]") -> socket.socket:
        family, kind, number, _, (host, *_) = address
        in_clear = self.has_token and not self.target.is_encrypted
        refusal = self.target.reach.refusal(str(host), is_secret_in_clear=in_clear)
        if refusal:
            raise _Refused(refusal)
        return socket.socket(family=family, type=kind, proto=number)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """A response whose headers were received."""

    response: aiohttp.ClientResponse
    host: str
    deadline: float
    faults: Callable[[], contextlib.AbstractContextManager[None]]

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004  what HTTP calls success

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The chunks of the body, decompressed, up to the limit."""
        size = 0
        while chunk := await self._next():
            size += len(chunk)
            if size > ANSWER_LIMIT:
                raise ChatbotError(
                    Fault.TOO_LARGE,
                    f"{self.host}'s answer is larger than {ANSWER_LIMIT} bytes",
                    status=self.status,
                )
            yield chunk

    async def beginning(self) -> str:
        """The beginning of the body, as much as fits into a message and was received."""
        found = b""
        with contextlib.suppress(ChatbotError):
            async with aclosing(self.chunks()) as chunks:
                async for chunk in chunks:
                    found += chunk
                    if len(found) > _BEGINNING:
                        break
        return found[:_BEGINNING].decode(errors="replace")

    async def _next(self) -> bytes:
        with self.faults():
            async with asyncio.timeout_at(self.deadline):
                return await self.response.content.readany()


async def _lines(
    chunks: AsyncGenerator[bytes], masked: Callable[[str], str]
) -> AsyncGenerator[str]:
    line = bytearray()
    async with aclosing(chunks):
        async for chunk in chunks:
            *ends, rest = chunk.split(b"\n")
            for end in ends:
                line += end
                yield masked(_text(line))
                line.clear()
            line += rest
            if len(line) > LINE_LIMIT:
                raise ChatbotError(
                    Fault.TOO_LARGE, f"a line of the answer is longer than {LINE_LIMIT} bytes"
                )
    if line:
        yield masked(_text(line))


def _text(line: bytearray) -> str:
    return line.decode(errors="replace").removesuffix("\r")


def _spelled(token: str) -> re.Pattern[str] | None:
    """A pattern for a token in text and in JSON. None: the token is too short to search for."""
    if len(token) < _MASKED_FROM:
        return None
    return re.compile("".join(f"(?:{'|'.join(_spellings(each))})" for each in token))


def _spellings(character: str) -> Generator[str]:
    """Patterns for the ways in which JSON may write a character, the longest first."""
    yield rf"\\u(?i:{ord(character):04x})"
    if character in '"\\/':
        yield re.escape(f"\\{character}")
    yield re.escape(character)


def _why(error: Exception) -> str:
    """The operating system's message, without aiohttp's addition."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return f"no connection within {CONNECT_SECONDS:g} s"
        case aiohttp.ServerDisconnectedError():
            return "there was no answer"  # the error may carry what was received
        case aiohttp.ClientConnectorCertificateError():
            return clean_text(str(error.certificate_error), limit=_SHOWN_LIMIT)
        case aiohttp.ClientConnectorError():
            cause = error.os_error
            return clean_text(cause.strerror or str(cause), limit=_SHOWN_LIMIT)
        case _:
            return clean_text(str(error), limit=_SHOWN_LIMIT) or type(error).__name__
