"""A question and an answer in one object, with the earlier turns or without a conversation's id.

Other objects with such an id are rows of a table. The columns' names are guessed as those of CSV
files.
"""

from collections.abc import Iterator

from evalqueue.evaluators.formats import DateOrder
from evalqueue.evaluators.formats.shapes import Object, content, exchanges, fields
from evalqueue.evaluators.formats.shapes.assembly import Conversation
from evalqueue.evaluators.formats.values.cells import with_input
from evalqueue.evaluators.formats.values.columns import layout_of

_BESIDE = ("context", "system_prompt")


class _QuestionAnswer:
    """The shape. Each record ends with one turn."""

    name = "question and answer"

    def recognises(self, record: Object) -> bool:
        layout = layout_of(list(record))
        has_history = any(isinstance(record.get(key), list) for key in fields.HISTORY)
        missing = layout.missing or (("thread_id",) if has_history else ())
        return not layout.is_of_messages and missing == ("thread_id",)

    def conversations(self, record: Object, order: DateOrder | None) -> Iterator[Conversation]:
        mapping = layout_of(list(record)).mapping
        asked, answered = (mapping[each] for each in ("query_text", "final_response_message"))
        question = exchanges.asked_in(record[asked], asked, order)
        about = record.get(mapping.get("query_input", ""))
        if about and question:
            question[-1].text = with_input(question[-1].text, fields.dumped(about))
        parts = [*exchanges.history_in(record, "", order), *question]
        parts += exchanges.answered_in(record[answered], answered, order)
        named = {ours: record[mapping[ours]] for ours in _BESIDE if ours in mapping}
        thread = (mapping.get("thread_id", ""), *fields.THREAD, *fields.ID)
        yield content.conversation_of({**record, **named}, parts, order, thread=thread)


QUESTION_ANSWER = _QuestionAnswer()
