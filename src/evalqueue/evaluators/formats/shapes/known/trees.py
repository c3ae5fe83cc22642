"""Conversations that branch: OpenAssistant's message trees, and ChatGPT's export.

The branch that was shown is read: of OpenAssistant the best-ranked reply at each message, of
ChatGPT the one that ends at the current message.
"""

from collections.abc import Iterator

from evalqueue.evaluators.formats import UNKNOWN_USER, DateOrder
from evalqueue.evaluators.formats.shapes import Object, ShapeError, content, fields
from evalqueue.evaluators.formats.shapes.assembly import Conversation, Part
from evalqueue.evaluators.formats.shapes.fields import list_of, object_of, objects

_MAX_DEPTH = 10_000  # messages


class _OasstTree:
    """OpenAssistant's trees: `{"message_tree_id", "prompt": {"text", "role", "replies": […]}}`."""

    name = "OpenAssistant tree"

    def recognises(self, record: Object) -> bool:
        prompt = object_of(record.get("prompt"))
        return prompt is not None and "replies" in prompt

    def conversations(self, record: Object, order: DateOrder | None) -> Iterator[Conversation]:
        parts: list[Part] = []
        message: Object | None = record["prompt"]
        while message is not None and len(parts) < _MAX_DEPTH:
            parts.append(content.part_of(message, f"message {len(parts) + 1}", order))
            message = _best(message)
        thread = ("message_tree_id", *fields.THREAD, *fields.ID)
        yield content.conversation_of(record, parts, order, thread=thread)


class _OasstMessages:
    """OpenAssistant's messages, one to a record: `{"message_id", "parent_id", "text", "role"}`."""

    name = "OpenAssistant messages"

    def recognises(self, record: Object) -> bool:
        return {"message_id", "parent_id", "text", "role"} <= record.keys()

    def part(self, record: Object, order: DateOrder | None) -> tuple[str, Part]:
        part = content.part_of(record, "message", order)
        part.id = fields.text_of(record, ("message_id",))
        part.parent_id = fields.text_of(record, ("parent_id",))
        part.rank = _rank(record)
        part.user_id = fields.text_of(record, fields.USER) if part.role == "user" else None
        thread_id = fields.text_of(record, ("message_tree_id", *fields.THREAD)) or part.id
        if thread_id is None:
            raise ShapeError("message_id", "it is missing.")
        return thread_id, part

    def conversation(self, thread_id: str, parts: list[Part]) -> Conversation:
        ids = {part.id for part in parts}
        replies: dict[str | None, list[Part]] = {}
        for part in parts:
            parent = part.parent_id if part.parent_id in ids else None
            replies.setdefault(parent, []).append(part)
        found: list[Part] = []
        following = replies.get(None)
        while following and len(found) < len(parts):
            found.append(min(following, key=lambda part: part.rank))
            following = replies.get(found[-1].id)
        user_id = next((part.user_id for part in found if part.user_id), UNKNOWN_USER)
        return Conversation(thread_id=thread_id, user_id=user_id, parts=found)


class _ChatGpt:
    """ChatGPT's export: `{"mapping": {id: {"message", "parent"}}, "current_node"}`."""

    name = "ChatGPT export"

    def recognises(self, record: Object) -> bool:
        return object_of(record.get("mapping")) is not None and "current_node" in record

    def conversations(self, record: Object, order: DateOrder | None) -> Iterator[Conversation]:
        nodes = object_of(record["mapping"]) or {}
        parts: list[Part] = []
        node = object_of(nodes.get(str(record["current_node"])))
        for _ in range(_MAX_DEPTH):
            if node is None:
                break
            message = object_of(node.get("message"))
            if message is not None and not _is_hidden(message):
                parts.append(content.part_of(message, f"mapping.{node.get('id')}", order))
            node = object_of(nodes.get(str(node.get("parent"))))
        parts.reverse()
        yield content.conversation_of(record, parts, order)


OASST_TREE = _OasstTree()
OASST_MESSAGES = _OasstMessages()
CHATGPT = _ChatGpt()


def _best(message: Object) -> Object | None:
    replies = [each for _, each in objects(list_of(message.get("replies")))]
    return min(replies, key=_rank, default=None)  # the first of equals


def _rank(message: Object) -> int:
    rank = message.get("rank")
    return rank if isinstance(rank, int) else _MAX_DEPTH


def _is_hidden(message: Object) -> bool:
    text = content.text_in(message.get("content"))
    hidden = fields.inside(message, "metadata", "is_visually_hidden_from_conversation")
    return bool(hidden) or (fields.inside(message, "author", "role") == "system" and not text)
