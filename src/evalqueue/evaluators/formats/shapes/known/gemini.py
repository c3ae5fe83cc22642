"""Gemini's contents: `{"contents": [{"role": "user", "parts": [{"text": …}]}, …]}`."""

from collections.abc import Iterator

from evalqueue.evaluators.formats import DateOrder
from evalqueue.evaluators.formats.shapes import Object, content, exchanges
from evalqueue.evaluators.formats.shapes.assembly import Conversation
from evalqueue.evaluators.formats.shapes.fields import list_of, object_of


class _Gemini:
    """The shape. The answer is in the contents, in `response`, or in `candidates`."""

    name = "Gemini contents"

    def recognises(self, record: Object) -> bool:
        return list_of(record.get("contents")) is not None

    def conversations(self, record: Object, order: DateOrder | None) -> Iterator[Conversation]:
        given = [
            each if object_of(each) is None or "role" in each else {"role": "user", **each}
            for each in record["contents"]
        ]  # a single content may leave out its role
        parts = content.parts_of(given, "contents", order)
        for key in ("response", "candidates"):
            if record.get(key) is not None:
                answer = record if key == "candidates" else record[key]
                parts += exchanges.answered_in(answer, key, order)
        yield content.conversation_of(record, parts, order)


GEMINI = _Gemini()
