"""Our columns, and which column of a file most likely stands for each.

This is the one place that guesses: the command line, the API and the page read a file by the same
guess, and a mapping corrects it. A file has a row for each turn (a question and its answer), or a
row for each message (a role and a text).
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalqueue.evaluators.formats import Faults, shown
from evalqueue.evaluators.formats.values import latencies

MAX_COLUMNS = 5_000  # a row of commas only is no header, and looking for names in it takes minutes
NOT_IN_FILE = ""  # what a mapping says of a column that the file does not have
_HEADER_SHOWN = 20  # names

COLUMNS = (
    "thread_id", "user_id", "session_id", "query_text", "final_response_message",
    "intent_detected", "timestamp", "has_image", "response_id", "intent_query_type",
    "error_message",
)  # fmt: skip
"""Of a file with a row for each turn, as our own exports write it."""
ALL_COLUMNS = (
    *COLUMNS, "context", "system_prompt", "expected", "alternative", "tools", "tool_calls",
    "expected_tool_calls", "latency_ms", "latency_seconds", "role", "content", "query_input",
)  # fmt: skip
EXPECTED_ANSWER = (
    "expected", "expected_answer", "expected_output", "expected_response", "expected_bot_response",
    "reference", "reference_answer", "reference_output", "reference_response", "ground_truth",
    "ground_truths", "ground_truth_answer", "ideal", "ideal_answer", "ideal_response",
    "gold_answer", "golden_answer", "target_answer", "correct_answer",
)  # fmt: skip
"""Names of the reference answer. Expected labels have names of their own, as `expected_intent`."""
ALTERNATIVE_ANSWER = (
    "alternative", "alternative_answer", "answer_b", "response_b", "output_b", "completion_b",
    "answer_2", "response_2", "output_2", "completion_2",
)  # fmt: skip
"""Names of another answer to the same message."""
CONTEXT = (
    "context", "contexts", "retrieved_context", "retrieved_contexts", "retrieval_context",
    "retrieved_documents", "retrieved_docs", "retrieved_chunks", "retrieved_passages",
    "source_documents", "context_documents", "documents", "document", "passages", "passage",
    "article", "knowledge",
)  # fmt: skip
"""Names of what the bot was given besides the user's message."""
SYSTEM_PROMPT = (
    "system_prompt", "system", "system_message", "system_instruction", "system_instructions",
    "developer_message", "developer_prompt", "instructions",
)  # fmt: skip
"""Names of the bot's instructions."""
HISTORY = ("history", "chat_history", "conversation_history", "message_history")
"""Names of the earlier turns of a conversation, where a record has a question and an answer."""
REQUIRED_OF_TURNS = ("thread_id", "query_text", "final_response_message")
REQUIRED_OF_MESSAGES = ("thread_id", "role", "content")

_ALSO_CALLED: Mapping[str, tuple[str, ...]] = {
    "query_text": (
        "query", "question", "user_message", "user_text", "user_query", "user_input",
        "user_prompt", "user_question", "customer_message", "human_message",
        "instruction",  # before what it is about: see `_ABOUT`
        "input", "input_text", "inputs", "prompt", "request", "utterance", "frage", "pregunta",
        "message", "human", "user",
    ),
    "final_response_message": (
        "final_response", "response", "answer", "bot_message", "bot_text", "bot_response",
        "bot_answer", "bot_reply", "reply", "output", "outputs", "output_text", "actual_output",
        "response_text", "response_message", "assistant_message", "assistant_response",
        "assistant_text", "assistant_reply", "ai_response", "ai_message", "ai_answer",
        "agent_response", "chatbot_response", "model_response", "model_output", "model_answer",
        "llm_response", "llm_output", "completion", "generated_text", "generation", "prediction",
        "antwort", "respuesta", "assistant", "chatbot", "bot", "ai",
        "answer_a", "response_a", "output_a", "completion_a",
        "answer_1", "response_1", "output_1", "completion_1",
    ),
    "role": (
        "author_role", "message_role", "sender_role", "sender_type", "author_type", "speaker",
        "sender", "from", "author", "participant", "who", "direction",
    ),
    "content": (
        "body", "text", "message", "message_text", "message_body", "message_content", "msg",
        "value", "utterance", "plain_body",
    ),
    "thread_id": (
        "thread", "conversation_id", "conversation", "conv_id", "convo_id", "conversation_uuid",
        "conversation_hash", "chat_id", "chat", "dialog_id", "dialogue_id", "ticket_id", "ticket",
        "case_id", "interaction_id", "call_id", "room_id", "trace_id",
    ),
    "user_id": (
        "user", "customer_id", "customer", "uid", "client_id", "account_id", "user_name",
        "username", "contact_id", "visitor_id",
    ),
    "session_id": ("session", "sid"),
    "intent_detected": (
        "intent", "detected_intent", "routed_intent", "predicted_intent", "agent", "intent_label",
        "intent_name",
    ),
    "timestamp": (
        "time", "datetime", "date_time", "date", "created_at", "created", "create_time", "at", "ts",
        "sent_at", "event_time", "event_timestamp", "message_time", "start_time", "datum",
        "zeitstempel", "fecha",
    ),
    "has_image": ("image", "has_images", "with_image", "has_photo", "is_image"),
    "response_id": ("message_id", "reply_id", "answer_id"),
    "intent_query_type": ("query_type", "intent_type", "routed_query_type"),
    "error_message": ("error", "errors", "error_text", "exception", "error_msg"),
    "context": CONTEXT[1:],
    "system_prompt": (*SYSTEM_PROMPT[1:], "instruction"),
    "expected": EXPECTED_ANSWER[1:],
    "alternative": ALTERNATIVE_ANSWER[1:],
    "tools": ("tool_definitions", "available_tools"),
    "tool_calls": ("tools_called", "called_tools", "actual_tool_calls"),
    "expected_tool_calls": ("reference_tool_calls", "expected_tools", "expected_calls",
                            "expected_trajectory", "reference_trajectory"),
    "latency_ms": latencies.IN_MILLISECONDS[1:],
    "latency_seconds": latencies.IN_SECONDS[1:],
}  # fmt: skip
"""Other names of our columns. A column earlier in this table takes a header before a later one."""
_ABOUT: Mapping[str, tuple[str, ...]] = {
    "instruction": ("input", "input_text", "inputs"),
    "question": ("options", "choices", "answer_choices", "answer_options"),
}
"""What a question is about, or may be answered with, in a column of its own: by the question's."""
_GIVEN = ("query_text", "context", "system_prompt")
_NAMES_OF_PEOPLE = ("human", "user")
_OF_TURNS_ONLY = ("query_text", "final_response_message", "query_input")
_OF_MESSAGES_ONLY = ("role", "content")
_INSTEAD_OF_A_THREAD = ("session_id", "session", "id")  # where no conversation has an id
_INVISIBLE = re.compile("[\ufeff\u200b-\u200f\u2060]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which of a file's columns stands for each of ours."""

    mapping: Mapping[str, str]
    """The file's headers by our columns."""
    is_of_messages: bool
    """Whether a row is a message and not a turn."""

    @property
    def required(self) -> tuple[str, ...]:
        return REQUIRED_OF_MESSAGES if self.is_of_messages else REQUIRED_OF_TURNS

    @property
    def missing(self) -> tuple[str, ...]:
        """The required columns that no header stands for."""
        return tuple(each for each in self.required if each not in self.mapping)


def name_of(header: str) -> str:
    """A header as it is compared: spreadsheets add spaces and invisible characters."""
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFKC", header)).split()).lower()


def layout_of(header: Sequence[str], given: Mapping[str, str] | None = None) -> Layout:
    """The layout by a mapping and, for the columns that it does not name, by a guess."""
    guess = _Guess(header, given or {})
    turns, messages = guess.layout(is_of_messages=False), guess.layout(is_of_messages=True)
    is_of_messages = len(turns.missing) > len(messages.missing) or (
        bool(turns.missing) and len(turns.missing) == len(messages.missing)
        and "role" in messages.mapping
    )  # fmt: skip
    return messages if is_of_messages else turns


def effective(header: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The entries of a mapping that differ from the guess."""
    guessed = layout_of(header).mapping
    names = [name_of(each) for each in header]
    return {
        column: chosen
        for column, chosen in sorted(given.items())
        if name_of(guessed.get(column, NOT_IN_FILE)) != name_of(chosen)
        or (chosen and names.count(name_of(chosen)) != 1)
    }


def positions_of(
    row: int, header: Sequence[str], given: Mapping[str, str], faults: Faults
) -> tuple[Layout, dict[str, int]]:
    """The layout, and the position of each of our columns that the file has."""
    layout = layout_of(header, given)
    names = [name_of(each) for each in header]
    _note_unknown_unit(row, header, layout, faults)
    for column in sorted(given.keys() - set(ALL_COLUMNS)):
        reason = (
            f"the mapping names it, and there is no such column. Known: {', '.join(ALL_COLUMNS)}."
        )
        faults.add(None, column, reason)
    positions: dict[str, int] = {}
    for column in ALL_COLUMNS:
        name = name_of(layout.mapping.get(column, NOT_IN_FILE))
        count = names.count(name) if name else 0
        if count > 1:
            faults.add(row, column, f"{count} columns have this name. Keep one of them.")
        elif count:
            positions[column] = names.index(name)
        elif name:
            there = ", ".join(map(shown, header[:_HEADER_SHOWN]))
            reason = f"the header has no {shown(given[column])}, which it is mapped to: {there}."
            faults.add(row, column, reason)
    if not layout.is_of_messages and (unread := _unread(header, layout, given)):
        message = (
            f"Not read: {', '.join(map(shown, unread))}. If the bot was given more than the file's "
            "other columns have, map one to query_input (what the question is about) or context."
        )
        faults.note("unread_columns", row, message, count=len(unread))
    for column in layout.missing:
        reason = "the header has no such column. Add it, rename the column that holds it, or map "
        faults.add(row, column, f"{reason}that one to it. The file has: {_there(header)}.")
    return layout, positions


def _note_unknown_unit(row: int, header: Sequence[str], layout: Layout, faults: Faults) -> None:
    """Say that the time that answers took is not read, if the name of its column has no unit."""
    if latencies.UNIT_SECONDS.keys() & layout.mapping.keys():
        return
    for name in header:
        if _plain(name) in latencies.WITHOUT_UNIT:
            reason = (
                f"The column {shown(name)} was not read: its unit is not known. Name it latency_ms "
                "or latency_seconds, or map one of these to it."
            )
            faults.note("latency_without_unit", row, reason)


def _there(header: Sequence[str]) -> str:
    return ", ".join(map(shown, header[:_HEADER_SHOWN])) or "no columns"


def _unread(header: Sequence[str], layout: Layout, given: Mapping[str, str]) -> list[str]:
    """The columns that are not read, and are called like what a bot is given."""
    taken = {name_of(each) for each in layout.mapping.values()}
    names = {
        name for column in _GIVEN if column not in given for name in (column, *_ALSO_CALLED[column])
    } | set(HISTORY)
    names -= {*_NAMES_OF_PEOPLE}
    return [each for each in header if name_of(each) not in taken and _plain(each) in names]


class _Guess:
    """The headers of a file in the ways that they are compared."""

    def __init__(self, header: Sequence[str], given: Mapping[str, str]) -> None:
        self._header = header[:MAX_COLUMNS]
        self._given = given
        names = [name_of(each) for each in self._header]
        plain = [_plain(each) for each in self._header]
        self._spellings = (names, plain, [each.replace("_", "") for each in plain])

    def layout(self, *, is_of_messages: bool) -> Layout:
        left_out = _OF_TURNS_ONLY if is_of_messages else _OF_MESSAGES_ONLY
        found = {column: name for column, name in self._given.items() if name != NOT_IN_FILE}
        taken = {name_of(name) for name in found.values()}
        open_columns = [
            column for column in _ALSO_CALLED if column not in (*self._given, *left_out)
        ]
        for column in open_columns:  # a header that has our name means our column
            self._take(column, (column,), found, taken)
        for column in open_columns:
            self._take(column, _ALSO_CALLED[column], found, taken)
        if "query_input" not in (*self._given, *left_out):
            asked = _plain(found.get("query_text", NOT_IN_FILE))
            self._take("query_input", ("query_input", *_ABOUT.get(asked, ())), found, taken)
        if "thread_id" in open_columns and "thread_id" not in found:
            # A message's own id names no conversation. A session's column may stand for both.
            instead = _INSTEAD_OF_A_THREAD[:-1] if is_of_messages else _INSTEAD_OF_A_THREAD
            self._take("thread_id", instead, found, set())
        return Layout(
            mapping={column: found[column] for column in ALL_COLUMNS if column in found},
            is_of_messages=is_of_messages,
        )

    def _take(
        self, column: str, wanted: Sequence[str], found: dict[str, str], taken: set[str]
    ) -> None:
        if column in found:
            return
        for name in wanted:
            for spelling, spelled in zip(
                self._spellings, (name, name, name.replace("_", "")), strict=True
            ):
                if spelled not in spelling:
                    continue
                header = self._header[spelling.index(spelled)]
                if name_of(header) not in taken:
                    found[column] = header
                    taken.add(name_of(header))
                    return


def _plain(header: str) -> str:
    """`conversationId` and `Conversation ID` as `conversation_id`."""
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", header))
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    return re.sub(r"[\W_]+", "_", text.lower()).strip("_")
