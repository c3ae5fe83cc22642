"""OpenAI's Batch API: requests and results that are in two files."""

from collections.abc import Iterator

from evalqueue.evaluators.formats import DateOrder
from evalqueue.evaluators.formats.shapes import Object, ShapeError, content, exchanges, fields
from evalqueue.evaluators.formats.shapes.assembly import Conversation, Part
from evalqueue.evaluators.formats.shapes.fields import inside, object_of

_JOIN = (
    "Join the two files by custom_id: "
    "jq -s 'group_by(.custom_id)[] | add' requests.jsonl results.jsonl > joined.jsonl"
)


class _OpenAiBatch:
    """The shape: a request joined with its result."""

    name = "OpenAI batch"

    def recognises(self, record: Object) -> bool:
        return "custom_id" in record and ("body" in record or "response" in record)

    def conversations(self, record: Object, order: DateOrder | None) -> Iterator[Conversation]:
        body = object_of(record.get("body"))
        if body is None:
            reason = f"it is the result of an OpenAI batch, without its request. {_JOIN}"
            raise ShapeError(None, reason)
        parts = exchanges.asked_in(body, "body", order)
        if "response" not in record and "error" not in record:
            if parts[-1].role != "assistant":
                reason = f"it is the request of an OpenAI batch, without its answer. {_JOIN}"
                raise ShapeError(None, reason)
        else:
            parts += _answer(record, order)
        found = content.conversation_of(record, parts, order, thread=(*fields.THREAD, "custom_id"))
        found.at = found.at or content.moment_in(inside(record, "response", "body", "created"))
        yield found


OPENAI_BATCH = _OpenAiBatch()


def _answer(record: Object, order: DateOrder | None) -> list[Part]:
    body = inside(record, "response", "body")
    if body is None:
        return [Part(role="assistant", text="", error=fields.error_of(record) or "no response")]
    found = exchanges.answered_in(body, "response.body", order)
    status = inside(record, "response", "status_code")
    if isinstance(status, int) and status >= 400 and found:  # noqa: PLR2004  HTTP's errors
        found[-1].error = found[-1].error or f"HTTP {status}"
    return found
