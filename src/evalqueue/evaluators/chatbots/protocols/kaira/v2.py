"""Kaira, version 2: text in tokens, and cards that are confirmed by a tap."""

from typing import Any

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

TIMEZONE = "Asia/Kolkata"


class KairaV2(Kaira):
    """`POST /api/chat`."""

    name = "kaira_v2"
    path = "/api/chat"

    def request(self, text: str, place: SessionState | None) -> dict[str, Any]:
        request = {
            "user_id": self.user_id,
            "message": text,
            "new_session": place is None,
            "timezone": TIMEZONE,
        }
        return request if place is None else {**request, "session_id": place.session_id}

    def take(self, chunk: Chunk, draft: ReplyDraft) -> None:
        match chunk["type"]:
            case "classification":
                session_id = text_of(chunk, "session_id")
                if session_id:
                    draft.place = SessionState(session_id=session_id)
                intent = text_of(chunk, "agent") or text_of(chunk, "intent")
                draft.intents = [intent] if intent else []
            case "token":
                draft.pieces.append(text_of(chunk, "content"))
            case "done":
                draft.whole = text_of(chunk, "full_response") or None
                draft.is_over = True
            case "error":
                draft.error = reported(chunk, "detail")
            case str(kind) if kind.endswith("_card") or isinstance(chunk.get("data"), dict):
                draft.take_card(kind, chunk.get("data"))
            case _:
                pass  # whatever will be invented


def open_chatbot(target: Target, credential: Credential | None, app: App) -> Chatbot:
    return KairaV2(target, credential)
