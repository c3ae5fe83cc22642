"""Chatbots behind plain HTTP: JSON requests and answers, as the app describes them."""

import asyncio
import contextlib
import json
import re
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import quote

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.apps.difficult_users import Webhook
from evalqueue.evaluators.chatbots.protocol import Chatbot, ChatbotError, Fault, Reply
from evalqueue.evaluators.chatbots.targets import Credential, Target, TargetRefused
from evalqueue.evaluators.chatbots.transport import StreamLine
from evalqueue.telemetry import tasks

_CLOSING_SECONDS = 3.0  # less than the time until an interrupted handler is cancelled again
_SESSION_LIMIT = 2_000  # characters
_INDEX_DIGITS = 9
_PLACEHOLDER = re.compile(r"\$(message|session|user_id|new)\b")


class WebhookChatbot:
    """`POST {address}`. A DELETE ends a session, if the app has a path for it."""

    name = "webhook"
    has_sessions = True

    def __init__(
        self, webhook: Webhook, target: Target, credential: Credential | None = None
    ) -> None:
        self._webhook = webhook
        self._line = StreamLine(target, credential)
        self._user_id = credential.user_id if credential else None
        self._headers: dict[str, str] = {}
        if credential:
            token = credential.token.get_secret_value()
            self._headers[webhook.token_header] = f"{webhook.token_prefix}{token}"
        self._ending: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def chat(self) -> "AsyncGenerator[WebhookChat]":
        chat = WebhookChat(
            self._webhook,
            self._line,
            self._headers,
            # Without a credential every conversation belongs to a different user.
            user_id=self._user_id or f"evalqueue-{secrets.token_hex(8)}",
        )
        try:
            yield chat
        finally:
            # The session is closed in a task of its own, so that a second cancellation does not
            # leave it open. `aclose` waits for such tasks.
            ending = tasks.start(self._end(chat), name="end of a chat")
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            await asyncio.shield(ending)

    async def aclose(self) -> None:
        if self._ending:
            await asyncio.wait(self._ending)
        await self._line.aclose()

    async def _end(self, chat: "WebhookChat") -> None:
        path = chat.closing_path()
        if path is None:
            return
        with contextlib.suppress(
            ChatbotError, TimeoutError
        ):  # the bot ends the session after a timeout
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self._line.delete(path, self._headers)


class WebhookChat:
    """One conversation. The session id comes from the bot if it sends one, else from here."""

    def __init__(
        self, webhook: Webhook, line: StreamLine, headers: Mapping[str, str], *, user_id: str
    ) -> None:
        self._webhook = webhook
        self._line = line
        self._headers = headers
        self._template = json.loads(webhook.body)
        self._user_id = user_id
        self._session = None if webhook.session else secrets.token_hex(16)
        self._is_begun = False

    async def say(self, text: str) -> Reply:
        began = time.perf_counter()
        found = await self._post(text)
        error = self._found(found, self._webhook.error)
        reply = self._found(found, self._webhook.reply)
        if reply is _ABSENT and error in (_ABSENT, None):
            raise ChatbotError(
                Fault.UNREADABLE,
                f"The answer has nothing at {self._webhook.reply}",
                quote=self._line.shown(str(found)),
            )
        session = self._found(found, self._webhook.session)
        if session not in (_ABSENT, None):
            self._session = self._known(session)
        return Reply(
            text=self._line.storable(_as_text(reply)),
            error=None if error in (_ABSENT, None) else self._line.shown(_as_text(error)),
            session=self._line.storable(self._session) if self._session else None,
            duration_ms=(time.perf_counter() - began) * 1000,
        )

    def closing_path(self) -> str | None:
        """The path to DELETE to end the session. None: there is no session to end."""
        path, session = self._webhook.close_path, self._session
        # A name of dots alone would change the path.
        if path is None or session is None or not self._is_begun or not session.strip("."):
            return None
        return path.replace("$session", quote(session, safe="", errors="replace"))

    def _known(self, session: Any) -> str:
        text = _as_text(session)
        if not text or len(text) > _SESSION_LIMIT:
            raise ChatbotError(
                Fault.UNREADABLE,
                f"{self._webhook.session} is no session of 1 to {_SESSION_LIMIT} characters",
                quote=self._line.shown(text),
            )
        return text

    async def _post(self, text: str) -> Mapping[str, Any]:
        values = {
            "message": text,
            "session": self._session,
            "user_id": self._user_id,
            "new": not self._is_begun,
        }
        was_begun, self._is_begun = self._is_begun, True
        try:
            return await self._line.post("", _filled(self._template, values), self._headers)
        except ChatbotError as error:
            if error.fault is Fault.UNREACHABLE:  # the bot knows nothing of it
                self._is_begun = was_begun
            raise

    @staticmethod
    def _found(answer: Mapping[str, Any], pointer: str | None) -> Any:
        return _ABSENT if pointer is None else _at(answer, pointer)


_ABSENT = object()


def _at(value: Any, pointer: str) -> Any:
    """The value at a JSON pointer (RFC 6901)."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = cast("Mapping[str, Any]", value).get(key, _ABSENT)
        elif isinstance(value, list) and key.isascii() and key.isdigit():
            found = cast("list[Any]", value)
            value = (
                found[int(key)] if len(key) < _INDEX_DIGITS and int(key) < len(found) else _ABSENT
            )
        else:
            return _ABSENT
    return value


def _filled(template: Any, values: Mapping[str, str | bool | None]) -> Any:
    """A template with its names replaced, in one pass: a user's text is never a template."""
    match template:
        case str() if found := _PLACEHOLDER.fullmatch(template):
            return values[found[1]]
        case str():
            return _PLACEHOLDER.sub(lambda found: _as_text(values[found[1]]), template)
        case dict():
            fields = cast("dict[str, Any]", template)
            return {key: _filled(value, values) for key, value in fields.items()}
        case list():
            return [_filled(each, values) for each in cast("list[Any]", template)]
        case _:
            return template


def _as_text(value: Any) -> str:
    if value is None or value is _ABSENT:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def open_chatbot(target: Target, credential: Credential | None, app: App) -> Chatbot:
    """
    Raises:
        TargetRefused: the app does not describe a webhook.
    """
    webhook = app.difficult_users.webhook if app.difficult_users else None
    if webhook is None:
        raise TargetRefused(
            f"The app {app.app_id} does not describe a webhook: add [difficult_users.webhook]."
        )
    return WebhookChatbot(webhook, target, credential)
