"""Chatbots behind an endpoint that is compatible with OpenAI's chat completions.

Such an endpoint has no state: every request contains the whole conversation.
"""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.chatbots.protocol import Chatbot, ChatbotError, Fault, Reply
from evalqueue.evaluators.chatbots.targets import Credential, Target, TargetRefused
from evalqueue.evaluators.chatbots.transport import StreamLine

_CONTENT_FILTER = "content_filter"


class OpenAICompatible:
    """`POST {address}/chat/completions`, in one piece."""

    name = "openai"
    has_sessions = False

    def __init__(self, target: Target, credential: Credential | None = None) -> None:
        """
        Raises:
            TargetRefused: no model is named.
        """
        if not target.model:
            raise TargetRefused("A chatbot of protocol openai needs a model to be named.")
        self._line = StreamLine(target, credential)
        self._model = target.model
        self._headers = (
            {"Authorization": f"Bearer {credential.token.get_secret_value()}"} if credential else {}
        )

    @asynccontextmanager
    async def chat(self) -> "AsyncGenerator[OpenAIChat]":
        yield OpenAIChat(self._line, self._model, self._headers)

    async def aclose(self) -> None:
        await self._line.aclose()


class OpenAIChat:
    """One conversation, with all its messages so far."""

    def __init__(self, line: StreamLine, model: str, headers: Mapping[str, str]) -> None:
        self._line = line
        self._model = model
        self._headers = headers
        self._messages: list[dict[str, str]] = []

    async def say(self, text: str) -> Reply:
        began = time.perf_counter()
        asked = [*self._messages, {"role": "user", "content": text}]
        found = await self._line.post(
            "/chat/completions",
            {"model": self._model, "messages": asked},
            self._headers,
            is_answer=_is_filtered,
        )
        answer, error = self._read(found)
        self._messages = [*asked, {"role": "assistant", "content": answer}]
        identifier = found.get("id")
        return Reply(
            text=answer,
            error=error,
            response_id=self._line.storable(identifier) if isinstance(identifier, str) else None,
            duration_ms=(time.perf_counter() - began) * 1000,
        )

    def _read(self, found: Mapping[str, Any]) -> tuple[str, str | None]:
        """The bot's text, and the error that it reports."""
        error = _mapping(found.get("error"))
        if error:
            reported = self._line.shown(str(error.get("message") or error))
            return "", reported
        choices = found.get("choices")
        first = cast("list[Any]", choices)[0] if isinstance(choices, list) and choices else None
        message = _mapping(_mapping(first).get("message"))
        text = message.get("content") or message.get("refusal") or ""
        if not message or not isinstance(text, str):
            raise ChatbotError(
                Fault.UNREADABLE,
                "The answer has no text at choices[0].message.content",
                quote=self._line.shown(str(found)),
            )
        is_filtered = _mapping(first).get("finish_reason") == _CONTENT_FILTER
        return self._line.storable(
            text
        ), f"{_CONTENT_FILTER}: the answer was withheld" if is_filtered else None


def _is_filtered(found: Mapping[str, Any]) -> bool:
    """Whether a content filter refused the request. A user sees that as the bot's answer."""
    return _mapping(found.get("error")).get("code") == _CONTENT_FILTER


def _mapping(value: Any) -> dict[str, object]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def open_chatbot(target: Target, credential: Credential | None, app: App) -> Chatbot:
    return OpenAICompatible(target, credential)
