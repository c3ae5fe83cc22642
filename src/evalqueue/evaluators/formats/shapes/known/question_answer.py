"""A question and an answer in one object, without the id of a conversation.

Objects with such an id are rows of a table: the columns' names are guessed as those of CSV files.
"""

from collections.abc import Iterator

from evalqueue.evaluators.formats import DateOrder
from evalqueue.evaluators.formats.shapes import Object, content, exchanges
from evalqueue.evaluators.formats.shapes.assembly import Conversation
from evalqueue.evaluators.formats.values.columns import layout_of


class _QuestionAnswer:
    """The shape. Each record is a conversation of one turn."""

    name = "question and answer"

    def recognises(self, record: Object) -> bool:
        layout = layout_of(list(record))
        # Alpaca's records have an id of their own, and a question in two parts.
        is_alpaca = layout.mapping.get("thread_id") == "id" and {"instruction", "input"} <= {
            *record
        }
        missing = layout.missing or (("thread_id",) if is_alpaca else ())
        return not layout.is_of_messages and missing == ("thread_id",)

    def conversations(self, record: Object, order: DateOrder | None) -> Iterator[Conversation]:
        mapping = layout_of(list(record)).mapping
        asked, answered = (mapping[each] for each in ("query_text", "final_response_message"))
        parts = exchanges.asked_in(record[asked], asked, order)
        more = record.get("input")  # Alpaca: the input is what the instruction is about
        if asked == "instruction" and isinstance(more, str) and more:
            parts[-1].text = f"{parts[-1].text}\n\n{more}"
        parts += exchanges.answered_in(record[answered], answered, order)
        yield content.conversation_of(record, parts, order)


QUESTION_ANSWER = _QuestionAnswer()
