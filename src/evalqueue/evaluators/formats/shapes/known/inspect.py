"""Inspect's logs: `{"eval": …, "samples": [{"id", "epoch", "messages", "output"}, …]}`."""

from collections.abc import Iterator

from evalqueue.evaluators.formats import DateOrder
from evalqueue.evaluators.formats.shapes import Object, content, exchanges, fields
from evalqueue.evaluators.formats.shapes.assembly import Conversation, Part
from evalqueue.evaluators.formats.shapes.fields import inside, list_of, objects


class _InspectSample:
    """One sample of a log. A sample that was repeated is called `id/epoch`."""

    name = "Inspect sample"

    def recognises(self, record: Object) -> bool:
        return {"id", "epoch", "messages"} <= record.keys()

    def conversations(self, record: Object, order: DateOrder | None) -> Iterator[Conversation]:
        parts = content.parts_of(record["messages"], "messages", order)
        last = parts[-1] if parts else None
        if last is None or (
            last.role != "assistant" and list_of(inside(record, "output", "choices"))
        ):
            parts += exchanges.answered_in(record.get("output"), "output", order)
        found = content.conversation_of(record, parts, order, thread=("id",))
        found.expected = found.expected or content.text_in(record.get("target")) or None
        found.error = found.error or fields.error_text(inside(record, "output", "error"))
        if record["epoch"] not in (None, 1):
            found.thread_id = f"{found.thread_id}/{record['epoch']}"
        yield found


class _InspectLog:
    """A whole log."""

    name = "Inspect log"

    def recognises(self, record: Object) -> bool:
        return "eval" in record and list_of(record.get("samples")) is not None

    def conversations(self, record: Object, order: DateOrder | None) -> Iterator[Conversation]:
        at = content.moment_in(inside(record, "eval", "created"), order)
        for _, sample in objects(record["samples"]):
            for found in INSPECT_SAMPLE.conversations(
                {"epoch": 1, "messages": [], **sample}, order
            ):
                found.at = found.at or at
                if any(part.role in ("user", "assistant") for part in found.parts):
                    yield found
                else:  # a sample that failed before anything was said
                    found.parts.append(Part(role="user", text=content.text_in(sample.get("input"))))
                    yield found


INSPECT_SAMPLE = _InspectSample()
INSPECT_LOG = _InspectLog()
