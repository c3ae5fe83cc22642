"""Chatbot Arena's battles: two conversations of one question, with two models."""

from collections.abc import Iterator

from evalqueue.evaluators.formats import DateOrder
from evalqueue.evaluators.formats.shapes import Object, content
from evalqueue.evaluators.formats.shapes.assembly import Conversation


class _Arena:
    """The shape. The conversations are called after the record and the side: `…/a`, `…/b`."""

    name = "Chatbot Arena"

    def recognises(self, record: Object) -> bool:
        return "conversation_a" in record and "conversation_b" in record

    def conversations(self, record: Object, order: DateOrder | None) -> Iterator[Conversation]:
        for side in "ab":
            key = f"conversation_{side}"
            parts = content.parts_of(record[key], key, order)
            found = content.conversation_of(record, parts, order)
            found.thread_id = f"{found.thread_id}/{side}"
            yield found


ARENA = _Arena()
