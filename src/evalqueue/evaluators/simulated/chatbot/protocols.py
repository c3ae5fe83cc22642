"""The HTTP protocols of the simulated bot: parse requests, split answers into frames.

They are written from the protocols' specifications, not from this package's clients, so that each
side tests the other. There is one `ChatbotProtocol` per protocol, and the server does not depend on
any of them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, model_validator

from evalqueue.evaluators.simulated.chatbot.bot import SimulatedAnswer, SimulatedMeal

MODEL = "simulated-kaira"
CONFIRM_MEAL = "Yes, log this meal"
"""The message that stands for a confirmed card."""
_CARD_CONFIRMED = "update_meal & log_meal - "
_MAX_TOKEN_FRAMES = 20  # frames per answer

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatbotRequest:
    """A parsed message to the bot."""

    user_id: str
    text: str
    session: str | None = None
    """The session to continue; None: a new session."""
    history: tuple[str, ...] | None = None
    """Earlier messages of the user, for a protocol without sessions; None: it has sessions."""
    image_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerIds:
    """The session and the response that an answer belongs to."""

    session: str
    response_id: str
    is_new: bool
    sees_image: bool = False


class ChatbotProtocol(Protocol):
    """A protocol of the simulated bot."""

    media_type: str
    keep_alive: bytes
    """Bytes without meaning that may precede an answer."""

    def read(self, body: bytes) -> ChatbotRequest:
        """Parse a request.

        Raises:
            pydantic.ValidationError: the body is not a request of this protocol.
        """
        ...

    def answer(self, answer: SimulatedAnswer, ids: AnswerIds) -> list[bytes]:
        """The frames of an answer."""
        ...

    def error(self, message: str, ids: AnswerIds) -> list[bytes]:
        """The frames of an error that the bot itself reports."""
        ...


class KairaV1Protocol:
    """Server-sent events; the answer is one event, with its buttons as XML in the text."""

    media_type = "text/event-stream"
    keep_alive = b"data: 1\n\n"

    def read(self, body: bytes) -> ChatbotRequest:
        request = _V1Request.model_validate_json(body)
        session = None if request.end_session else request.session_id
        return ChatbotRequest(user_id=request.user_id, text=request.query, session=session)

    def answer(self, answer: SimulatedAnswer, ids: AnswerIds) -> list[bytes]:
        if answer.error is not None:
            return self.error(answer.error, ids)
        intents = [
            {"agent": agent, "confidence": 0.97, "query_type": "logging", "reasoning": "simulated"}
            for agent in answer.intents
        ]
        agent = next(iter(answer.intents), "General")
        is_multi_intent = len(intents) > 1
        return [
            *self._opening_events(ids),
            _event(
                type="intent_classification",
                detected_intents=intents,
                is_multi_intent=is_multi_intent,
            ),
            _event(type="agent_response", agent=agent, message=answer.text, success=True, data={}),
            *([_event(type="summary", message=answer.text)] if is_multi_intent else []),
            _event(type="session_end"),
            b"data: [DONE]\n\n",
        ]

    def error(self, message: str, ids: AnswerIds) -> list[bytes]:
        return [
            *self._opening_events(ids),
            _event(type="error", error=message),
            b"data: [DONE]\n\n",
        ]

    def _opening_events(self, ids: AnswerIds) -> list[bytes]:
        return [
            _event(type="stream_start"),
            *([_event(type="session_start")] if ids.is_new else []),
            _event(
                type="session_context",
                thread_id=thread_id_for(ids.session),
                session_id=ids.session,
                response_id=ids.response_id,
            ),
        ]


class KairaV2Protocol:
    """Server-sent events; the answer is a series of tokens, with meals as cards."""

    media_type = "text/event-stream"
    keep_alive = b"data: 1\n\n"

    def __init__(self, *, shows_cards: bool = True) -> None:
        self._shows_cards = shows_cards

    def read(self, body: bytes) -> ChatbotRequest:
        request = _V2Request.model_validate_json(body)
        return ChatbotRequest(
            user_id=request.user_id,
            text=_as_text(request.message),
            session=None if request.new_session else request.session_id,
            image_id=request.image_id,
        )

    def answer(self, answer: SimulatedAnswer, ids: AnswerIds) -> list[bytes]:
        if answer.error is not None:
            return self.error(answer.error, ids)
        card = _card(answer.meals) if answer.meals and self._shows_cards else None
        text = answer.text_beside_card if card else answer.text
        if card:
            sentinel = "MULTI_FOOD_CARD" if card.get("isBatch") else "FOOD_CARD"
            text += f"\n___{sentinel}___{json.dumps(card)}___END___"
        if text:
            state = {"simulated": True, "session_id": ids.session}
            text += f"\n___SESSION_STATE___{json.dumps(state)}___END_SS___"
        return [
            self._classification(answer.intents, ids),
            *(_event(type="token", content=token) for token in _tokens(text)),
            *([_event(type="food_card", data=card)] if card else []),
            _event(type="done", full_response=text, response_id=ids.response_id),
        ]

    def error(self, message: str, ids: AnswerIds) -> list[bytes]:
        return [self._classification((), ids), _event(type="error", detail=message)]

    def _classification(self, intents: Sequence[str], ids: AnswerIds) -> bytes:
        agent = next(iter(intents), "General")
        return _event(
            type="classification",
            intent="question" if agent.endswith("InsightAgent") else "logging",
            agent=agent,
            confidence=0.97,
            source="vision" if ids.sees_image else "text",
            session_id=ids.session,
        )


class OpenAIChatbotProtocol:
    """Chat completions: no sessions, the whole conversation in each request."""

    media_type = "application/json"
    keep_alive = b" "

    def read(self, body: bytes) -> ChatbotRequest:
        request = _CompletionRequest.model_validate_json(body)
        messages = tuple(message.content for message in request.messages if message.role == "user")
        return ChatbotRequest(user_id=request.user, text=messages[-1], history=messages[:-1])

    def answer(self, answer: SimulatedAnswer, ids: AnswerIds) -> list[bytes]:
        if answer.error is not None:
            return self.error(answer.error, ids)
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": answer.text},
        }
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        body = {
            "id": ids.response_id, "object": "chat.completion", "created": 0, "model": MODEL,
            "choices": [choice], "usage": usage,
        }  # fmt: skip
        return [json.dumps(body).encode()]

    def error(self, message: str, ids: AnswerIds) -> list[bytes]:
        error = {"message": message, "type": "server_error", "code": None}
        return [json.dumps({"error": error}).encode()]


class WebhookProtocol:
    """Plain JSON: `{message, session, user_id, new}` → `{reply: {text}, session}`."""

    media_type = "application/json"
    keep_alive = b" "

    def read(self, body: bytes) -> ChatbotRequest:
        request = _WebhookRequest.model_validate_json(body)
        session = None if request.new else request.session
        return ChatbotRequest(user_id=request.user_id, text=request.message, session=session)

    def answer(self, answer: SimulatedAnswer, ids: AnswerIds) -> list[bytes]:
        if answer.error is not None:
            return self.error(answer.error, ids)
        body = {"reply": {"text": answer.text}, "session": ids.session, "error": None}
        return [json.dumps(body).encode()]

    def error(self, message: str, ids: AnswerIds) -> list[bytes]:
        return [json.dumps({"session": ids.session, "error": message}).encode()]


def thread_id_for(session: str) -> str:
    """The thread id that v1 sends with a session id."""
    return f"thread-of-{session}"


class _V1Request(BaseModel):
    query: str
    user_id: str
    session_id: str
    end_session: bool
    thread_id: str | None = None

    @model_validator(mode="after")
    def _requires_session_and_thread(self) -> "_V1Request":
        if not self.end_session and self.thread_id != thread_id_for(self.session_id):
            raise ValueError("to go on, session_id and thread_id of the first answer are needed")
        return self


class _V2Request(BaseModel):
    user_id: str
    message: str
    new_session: bool
    timezone: str
    session_id: str | None = None
    image_id: str | None = None

    @model_validator(mode="after")
    def _requires_session(self) -> "_V2Request":
        if not self.new_session and self.session_id is None:
            raise ValueError("to go on, the session_id of the classification is needed")
        return self


class _Message(BaseModel):
    role: str
    content: str = ""


class _CompletionRequest(BaseModel):
    model: str
    messages: list[_Message]
    user: str = "openai"
    stream: bool = False

    @model_validator(mode="after")
    def _can_be_answered(self) -> "_CompletionRequest":
        if self.stream or not any(message.role == "user" for message in self.messages):
            raise ValueError("there must be a user message, and stream must be false")
        return self


class _WebhookRequest(BaseModel):
    message: str
    user_id: str
    new: bool
    session: str | None = None

    @model_validator(mode="after")
    def _requires_session(self) -> "_WebhookRequest":
        if not self.new and self.session is None:
            raise ValueError("to go on, the session of the first reply is needed")
        return self


def _event(**chunk: Any) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()


def _tokens(text: str) -> list[str]:
    size = max(1, math.ceil(len(text) / _MAX_TOKEN_FRAMES))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _as_text(message: str) -> str:
    """The message, or its meaning if it is the payload of a card's button."""
    confirmed, _, meals = message.partition(_CARD_CONFIRMED)
    if confirmed or not meals:
        return message
    try:
        return CONFIRM_MEAL if isinstance(json.loads(meals), list) else message
    except ValueError:
        return message


def _card(meals: Sequence[SimulatedMeal]) -> Json:
    if len(meals) == 1:
        return _meal(meals[0])
    return {"isBatch": True, "sessions": [_meal(meal) for meal in meals]}


def _meal(meal: SimulatedMeal) -> Json:
    return {
        "items": [
            {
                "name": item.name,
                "ingredients": list(item.ingredients),
                "qty": item.qty,
                "meal": item.meal,
                "kcal": item.kcal,
                "protein_g": item.protein_g,
                "carbs_g": item.carbs_g,
                "fat_g": item.fat_g,
                "fiber_g": item.fiber_g,
            }
            for item in meal.items
        ],
        "consumed_at": meal.consumed_at.isoformat(),
        "consumed_label": meal.consumed_label,
    }
