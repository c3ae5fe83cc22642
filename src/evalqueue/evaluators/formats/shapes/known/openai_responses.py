"""OpenAI's Responses API: `{"input": …, "output": [{"type": "message", …}, …]}`."""

from collections.abc import Iterator

from evalqueue.evaluators.formats import DateOrder
from evalqueue.evaluators.formats.shapes import Object, ShapeError, content, exchanges, fields
from evalqueue.evaluators.formats.shapes.assembly import Conversation
from evalqueue.evaluators.formats.shapes.fields import inside, list_of, object_of


class _OpenAiResponses:
    """The shape. A response alone has no question; that is in the request's `input`."""

    name = "OpenAI responses"

    def recognises(self, record: Object) -> bool:
        output = list_of(record.get("output"))
        return record.get("object") == "response" or (
            bool(output) and "input" in record and isinstance(inside(output[0], "type"), str)
        )

    def conversations(self, record: Object, order: DateOrder | None) -> Iterator[Conversation]:
        if record.get("input") is None:
            reason = (
                "it is a response of OpenAI without the request's input. Log the input beside it: "
                '{"input": …, "output": …}.'
            )
            raise ShapeError("input", reason)
        parts = exchanges.asked_in(record["input"], "input", order)
        answers = exchanges.answered_in({"output": record.get("output") or []}, "output", order)
        error = fields.error_of(record) or fields.error_text(record.get("incomplete_details"))
        answers = answers or exchanges.answered_in("", "output", order)
        answers[-1].error = answers[-1].error or error
        answers[-1].response_id = fields.text_of(record, ("response_id", "id"))
        conversation = record.get("conversation")
        found = content.conversation_of(record, [*parts, *answers], order)
        found.error = None  # it is the answer's
        if (known := object_of(conversation)) is not None and known.get("id"):
            found.thread_id = str(known["id"])
        yield found


OPENAI_RESPONSES = _OpenAiResponses()
