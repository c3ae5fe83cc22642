"""Chat messages: `{"messages": [{"role": "user", "content": …}, …]}`.

This is OpenAI's shape, and with other keys, roles and parts of content that of Anthropic,
LangChain, WildChat, LMSYS-Chat-1M, ShareGPT and most logs. An answer may be beside the messages
(`response`, `choices`, `output`). A list of pairs (`[{"user": …, "assistant": …}]`) is read, too.
"""

from collections.abc import Iterator

from evalqueue.evaluators.formats import DateOrder
from evalqueue.evaluators.formats.shapes import Object, ShapeError, content, exchanges, fields
from evalqueue.evaluators.formats.shapes.assembly import Conversation, Part
from evalqueue.evaluators.formats.shapes.fields import list_of, object_of
from evalqueue.evaluators.formats.values.cells import with_input
from evalqueue.evaluators.formats.values.columns import layout_of

_KEYS = ("conversation", "conversations", "dialogue", "dialog", "turns", "transcript", "chat",
         "history", "chat_history", "msgs", "utterances", "events", "thread", "trajectory",
         "traj", "user_input")  # fmt: skip
_ANSWERS = ("response", "output", "completion", "answer", "choices", "candidates")


class _Chat:
    """The shape."""

    name = "chat messages"

    def recognises(self, record: Object) -> bool:
        return "messages" in record or _key(record) is not None

    def conversations(self, record: Object, order: DateOrder | None) -> Iterator[Conversation]:
        key = "messages" if "messages" in record else _key(record) or "messages"
        given = list_of(record.get(key))
        if given and _is_pair(given[0]):
            parts = _of_pairs(given, key, order)
        else:
            parts = content.parts_of(record.get(key), key, order)
        if not any(part.role in ("user", "assistant") for part in parts):
            raise ShapeError(key, "it has neither a user's message nor an assistant's.")
        if parts[-1].role != "assistant" or parts[-1].calls:
            parts += _answer(record, order)
        yield content.conversation_of(record, parts, order)


CHAT = _Chat()


def _key(record: Object) -> str | None:
    for key in _KEYS:
        given = list_of(record.get(key))
        if given and key in fields.HISTORY and _has_turn(record):
            continue  # it is what was said before
        if given and (content.is_message(given[0]) or _is_pair(given[0])):
            return key
    return None


def _has_turn(record: Object) -> bool:
    """Whether a record has a question and its answer beside the messages."""
    return {"query_text", "final_response_message"} <= layout_of(list(record)).mapping.keys()


def _answer(record: Object, order: DateOrder | None) -> list[Part]:
    for key in _ANSWERS:
        if record.get(key) is not None:
            whole = key in ("choices", "candidates")
            return exchanges.answered_in(record if whole else record[key], key, order)
    return []


def _is_pair(value: object) -> bool:
    """Whether it is a question and its answer in one object."""
    pair = object_of(value)
    if pair is None or content.is_message(pair):
        return False
    layout = layout_of(list(pair))
    return not layout.is_of_messages and layout.missing in ((), ("thread_id",))


def _of_pairs(given: list[object], key: str, order: DateOrder | None) -> list[Part]:
    found: list[Part] = []
    for place, each in enumerate(given):
        pair = object_of(each)
        if pair is None:
            raise ShapeError(f"{key}[{place}]", "it is no object.")
        mapping = layout_of(list(pair)).mapping
        if not {"query_text", "final_response_message"} <= mapping.keys():
            raise ShapeError(f"{key}[{place}]", "it has no question, or no answer.")
        read = {*fields.CONTEXT, *fields.SYSTEM, *mapping.values()}
        beside = {name: value for name, value in pair.items() if name not in read}
        found += content.given_beside(pair)
        if "timestamp" in mapping:
            beside["timestamp"] = pair[mapping["timestamp"]]
        if "error_message" in mapping:
            beside["error"] = pair[mapping["error_message"]]
        for role, column in (("user", "query_text"), ("assistant", "final_response_message")):
            text = pair[mapping[column]]
            if role == "user" and isinstance(text, str) and (about := mapping.get("query_input")):
                text = with_input(text, fields.dumped(pair[about]))
            message = {**beside, "role": role, "content": text}
            found.append(content.part_of(message, f"{key}[{place}]", order))
    return found
