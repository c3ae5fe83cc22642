"""What was sent to a bot and what it answered, as tracing tools log it.

Langfuse's traces and observations, LangSmith's runs and the request logs of gateways have an input
and an output of any shape. Records of one session are one conversation; inputs that repeat the
conversation so far are read once.
"""

from collections.abc import Iterator

from evalqueue.evaluators.formats import DateOrder
from evalqueue.evaluators.formats.shapes import Object, content, exchanges, fields
from evalqueue.evaluators.formats.shapes.assembly import Conversation
from evalqueue.evaluators.formats.shapes.fields import inside, object_of

_PAIRS = (
    ("input", "output"), ("inputs", "outputs"), ("request", "response"),
    ("request_body", "response_body"), ("requestBody", "responseBody"), ("prompt", "response"),
    ("prompt", "completion"), ("kwargs", "response"),
)  # fmt: skip
_THREAD = ("sessionId", "session_id", *fields.THREAD, "traceId", "trace_id", *fields.ID)


class _Exchange:
    """The shape: Langfuse, LangSmith, and logs of requests and responses."""

    name = "input and output (Langfuse, LangSmith, gateways)"

    def recognises(self, record: Object) -> bool:
        pair = _pair(record)
        return pair is not None and (
            any(isinstance(record.get(key), dict | list) for key in pair)
            or "sessionId" in record
            or "traceId" in record
        )

    def conversations(self, record: Object, order: DateOrder | None) -> Iterator[Conversation]:
        asked, answered = _pair(record) or _PAIRS[0]
        parts = exchanges.asked_in(record[asked], asked, order)
        if not any(part.role == "assistant" for part in parts):
            parts = [*exchanges.history_in(record, "", order), *parts]
        answers = exchanges.answered_in(record.get(answered), answered, order)
        beside = object_of(inside(record, "extra", "metadata")) or {}
        named = fields.text_of(beside, _THREAD)
        found = content.conversation_of(record, parts, order, thread=_THREAD)
        found.thread_id = named or found.thread_id
        response_id = fields.text_of(record, ("response_id", "id"))
        for answer in answers[-1:]:
            answer.response_id = answer.response_id or response_id
            answer.intent = answer.intent or fields.text_of(record, fields.INTENT)
        if record.get("level") == "ERROR" or record.get("status") == "error":
            found.error = found.error or fields.text_of(record, ("statusMessage",)) or "error"
        found.parts = [*found.parts, *answers]
        yield found


EXCHANGE = _Exchange()


def _pair(record: Object) -> tuple[str, str] | None:
    """The keys of what was asked and what was answered."""
    return next(
        (
            (asked, answered)
            for asked, answered in _PAIRS
            if record.get(asked) is not None and answered in record
        ),
        None,
    )
