"""Kaira, version 1: whole messages by agents, action chips as XML in the text."""

from collections.abc import Iterator
from typing import Any, cast

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.chatbots.protocol import Chatbot
from evalqueue.evaluators.chatbots.protocols.kaira.conversation import (
    Kaira,
    ReplyDraft,
    SessionState,
    reported,
    text_of,
)
from evalqueue.evaluators.chatbots.protocols.kaira.events import Chunk
from evalqueue.evaluators.chatbots.targets import Credential, Target


class KairaV1(Kaira):
    """`POST /chat/stream`."""

    name = "kaira_v1"
    path = "/chat/stream"

    def request(self, text: str, place: SessionState | None) -> dict[str, Any]:
        request: dict[str, Any] = {
            "query": text,
            "user_id": self.user_id,
            "session_id": place.session_id if place else self.user_id,
            "end_session": place is None,
            "stream": False,
            "context": {"additionalProp1": {}},
        }
        return request if place is None else {**request, "thread_id": place.thread_id}

    def take(self, chunk: Chunk, draft: ReplyDraft) -> None:
        match chunk["type"]:
            case "session_context":
                session_id, thread_id = text_of(chunk, "session_id"), text_of(chunk, "thread_id")
                if session_id and thread_id:
                    draft.place = SessionState(session_id=session_id, thread_id=thread_id)
                draft.response_id = text_of(chunk, "response_id") or None
            case "intent_classification":
                draft.intents = list(_agents(chunk.get("detected_intents")))
            case "agent_response":
                _take_response(chunk, draft)
            case "summary":
                draft.whole = text_of(chunk, "message") or draft.whole
            case "error":
                draft.error = reported(chunk, "error")
            case "session_end":
                draft.is_over = draft.is_complete
            case _:
                pass  # stream_start, session_start, and whatever will be invented


def _take_response(chunk: Chunk, draft: ReplyDraft) -> None:
    message = text_of(chunk, "message")
    draft.is_complete = True
    if chunk.get("success", True):
        draft.pieces.append(f"\n\n{message}" if draft.pieces else message)
    else:
        draft.failure = message or f"{text_of(chunk, 'agent') or 'an agent'} has failed"


def _agents(intents: Any) -> Iterator[str]:
    for intent in cast("list[Any]", intents) if isinstance(intents, list) else ():
        if isinstance(intent, dict):
            agent = text_of(cast("Chunk", intent), "agent")
            if agent:
                yield agent


def open_chatbot(target: Target, credential: Credential | None, app: App) -> Chatbot:
    return KairaV1(target, credential)
