"""One message of any shape: its role, text, tool calls and errors.

Reasoning ("thinking") is no part of an answer. A tool's result is no user message, whatever role it
is sent with.
"""

from datetime import datetime

from evalqueue.evaluators.formats import DateOrder, shown
from evalqueue.evaluators.formats.shapes import Object, ShapeError, fields, tools
from evalqueue.evaluators.formats.shapes.assembly import (
    CALLING,
    Call,
    Conversation,
    Part,
    Role,
    role_of,
)
from evalqueue.evaluators.formats.shapes.fields import dumped, inside, list_of, object_of
from evalqueue.evaluators.formats.values.cells import optional
from evalqueue.evaluators.formats.values.columns import ALTERNATIVE_ANSWER, name_of

ROLE_KEYS = ("role", "from", "author", "sender", "speaker", "author_role", "message_role", "type")
TEXT_KEYS = ("content", "value", "text", "parts", "message", "body", "utterance", "msg")
_BESIDE: tuple[tuple[Role, tuple[str, ...]], ...] = (
    ("system", fields.SYSTEM),
    ("context", fields.CONTEXT),
)
_PIECE_TEXTS = ("text", "content", "refusal", "value", "page_content", "pageContent")


def is_message(value: object) -> bool:
    """Whether a JSON value looks like a message: it has a role and a text, or tool calls."""
    message = unwrapped(value)
    return message is not None and _role_word(message) is not None and (
        any(key in message for key in (*TEXT_KEYS, "tool_calls", "function_call"))
    )  # fmt: skip


def conversation_of(
    record: Object,
    parts: list[Part],
    order: DateOrder | None,
    *,
    thread: tuple[str, ...] = (*fields.THREAD, *fields.ID),
) -> Conversation:
    """The conversation of a record, with what is known beside its messages."""
    return Conversation(
        thread_id=fields.text_of(record, thread) or "",
        user_id=fields.text_of(record, fields.USER) or "",
        session_id=fields.text_of(record, fields.SESSION),
        at=fields.time_of(record, "", order),
        error=fields.error_of(record),
        expected=_expected_in(record),
        alternative=_alternative_in(record),
        latency_seconds=fields.latency_of(record),
        parts=[*beside(record), *parts],
    )


def beside(record: Object) -> list[Part]:
    """Instructions, context and tools that a record has beside its messages."""
    found = given_beside(record)
    definitions, expected = tools.definitions_of(record), tools.expected_beside(record)
    if definitions is not None or expected is not None:
        found.append(Part(role="system", text="", tools=definitions, expected_calls=expected))
    return found


def given_beside(record: Object) -> list[Part]:
    """Instructions and context that a record has beside its messages."""
    return [
        Part(role=role, text=text) for role, keys in _BESIDE for text in _given_texts(record, keys)
    ]


def _given_texts(record: Object, keys: tuple[str, ...]) -> list[str]:
    """The different texts under some keys. Documents without a text that is known stay JSON."""
    read = _document_text if keys is fields.CONTEXT else text_in
    found: list[str] = []
    for given in fields.every(record, keys):
        pieces = [given] if list_of(given) is None else list_of(given) or []
        found.append("\n".join(text for text in map(read, pieces) if text))
    return [text for text in dict.fromkeys(found) if text]


def _document_text(document: object) -> str:
    known = object_of(document)
    is_read = not known or any(key in known for key in (*_PIECE_TEXTS, "parts"))
    return text_in(document) if is_read else dumped(known)


def _expected_in(value: Object) -> str | None:
    """The reference answer: a text, a number, a message, or a list of them."""
    found = fields.first(value, fields.EXPECTED)
    if found is None or isinstance(found[1], bool):
        return None
    text = text_in(found[1])
    return optional(text or dumped(found[1])) if found[1] not in ([], {}, "") else None


def _alternative_in(value: Object) -> str | None:
    """Another answer, in the same shapes. A text is what was said, even an empty one."""
    found = fields.first(value, ALTERNATIVE_ANSWER)
    return None if found is None else text_in(found[1]) or dumped(found[1])


def parts_of(messages: object, column: str, order: DateOrder | None) -> list[Part]:
    """The messages of a list.

    Raises:
        ShapeError: it is no list of messages.
    """
    given = list_of(messages)
    if given is None:
        raise ShapeError(column, "it is missing, or no list of messages.")
    found: list[Part] = []
    for place, each in enumerate(given):
        nested = list_of(each)  # LangSmith writes a list of lists
        found += (
            [part_of(each, f"{column}[{place}]", order)]
            if nested is None
            else parts_of(nested, f"{column}[{place}]", order)
        )
    return found


def part_of(value: object, column: str, order: DateOrder | None) -> Part:
    """A message.

    Raises:
        ShapeError: naming the place.
    """
    message = unwrapped(value)
    if message is None:
        raise ShapeError(column, "it is no object.")
    role = _role(message, column)
    part = Part(role=role, text="")
    _read_content(message, part, column)
    part.calls = part.calls or tools.calls_beside(message)
    if not part.calls and (calls := _called_in_text(message, part.text)):
        part.calls, part.text = calls, ""
    if role == "tool":
        call_id = fields.text_of(message, tools.IDS_OF_CALLS[:-1])
        if not part.results:
            part.results.append((call_id, part.text))
        part.text = ""
    if role == "user":
        part.user_id = fields.text_of(message, ("user_id",))
    part.at = fields.time_of(message, f"{column}.", order)
    part.intent = fields.text_of(message, fields.INTENT)
    part.query_type = fields.text_of(message, fields.QUERY_TYPE)
    part.error = fields.error_of(message)
    part.expected = _expected_in(message)
    part.alternative = _alternative_in(message)
    part.session_id = fields.text_of(message, fields.SESSION)
    part.has_image |= bool(message.get("images"))
    if role == "assistant":
        part.response_id = fields.text_of(message, ("response_id", "id"))
        part.latency_seconds = fields.latency_of(message)
    if role in ("user", "assistant"):
        part.context = "\n\n".join(_given_texts(message, fields.CONTEXT)) or None
        part.expected_calls = tools.expected_beside(message, f"{column}.")
    return part


def unwrapped(value: object) -> Object | None:
    """The message inside LangChain's and OpenInference's wrappers. None: it is no object."""
    message = object_of(value)
    if message is None:
        return None
    if (inner := object_of(message.get("kwargs"))) is not None and "lc" in message:
        kind = str((list_of(message.get("id")) or [""])[-1])
        return {"role": _langchain_role(kind), **inner}
    if (inner := object_of(message.get("data"))) is not None and isinstance(
        message.get("type"), str
    ):
        return {"role": _langchain_role(str(message["type"])), **inner}
    if (inner := object_of(message.get("message"))) is not None and _role_word(inner) is not None:
        return {**{key: each for key, each in message.items() if key != "message"}, **inner}
    if "message.role" in message:
        return {key.removeprefix("message."): each for key, each in message.items()}
    return message


def _langchain_role(kind: str) -> str:
    """The role of a class, e.g. of HumanMessage."""
    return kind.removesuffix("Chunk").removesuffix("Message").lower() or "?"


def _role_word(message: Object) -> object:
    for key in ROLE_KEYS:
        given = message.get(key)
        if (known := object_of(given)) is not None:
            given = known.get("role") or known.get("type")
        if given is not None:
            return given
    return None


def _role(message: Object, column: str) -> Role:
    written = _role_word(message)
    role = role_of(written) if isinstance(written, str) else None
    if role is None:
        reason = (
            f"{shown(str(written))} is none of user, assistant, system, developer, tool, function, "
            "or one of their usual other names."
        )
        raise ShapeError(f"{column}.role", reason)
    return role


def _called_in_text(message: Object, text: str) -> list[Call]:
    """The calls of a message whose role says that its text is a call, as LLaMA-Factory has it."""
    written = _role_word(message)
    is_call = isinstance(written, str) and name_of(written).replace("_", " ") in CALLING
    return tools.called_in(text) if is_call else []


def text_in(content: object) -> str:
    """The text of a content, whatever its parts are."""
    part = Part(role="system", text="")
    _read_value(content, part)
    return part.text


def _read_content(message: Object, part: Part, column: str) -> None:
    name = next((key for key in TEXT_KEYS if message.get(key) is not None), None)
    if name is None:
        refusal: object = message.get("refusal")
        part.text = refusal if isinstance(refusal, str) else ""
        return
    if not isinstance(message[name], str | list | dict):
        raise ShapeError(f"{column}.{name}", "it is neither text nor a list of parts.")
    _read_value(message[name], part)


def _read_value(content: object, part: Part) -> None:
    if isinstance(content, str):
        part.text = content
        return
    known = object_of(content)
    given = [known] if known is not None and "parts" not in known else None
    texts: list[str] = []
    for each in given or list_of(content) or list_of(inside(content, "parts")) or []:
        if isinstance(each, str):
            texts.append(each)
        elif (piece := object_of(each)) is not None:
            _read_piece(piece, part, texts)
    part.text = "\n".join(texts)


def _read_piece(piece: Object, part: Part, texts: list[str]) -> None:
    """One part of a content: a text, an image, a tool call, or the result of one."""
    kind = str(piece.get("type", ""))
    if "thinking" in kind or "reasoning" in kind or piece.get("thought") is True:
        return
    if (call := tools.call_in(piece, kind)) is not None:
        part.calls.append(call)
    elif (result := _result_in(piece, kind)) is not None:
        part.results.append(result)
    elif _is_image(piece, kind):
        part.has_image = True
    else:
        text = next((piece[key] for key in _PIECE_TEXTS if piece.get(key) is not None), None)
        texts += [text] if isinstance(text, str) else [text_in(text)] if text is not None else []


def _is_image(piece: Object, kind: str) -> bool:
    data = object_of(piece.get("inlineData") or piece.get("inline_data")) or object_of(
        piece.get("fileData") or piece.get("file_data")
    )
    media = str(data.get("mimeType", data.get("mime_type", ""))) if data else ""
    return "image" in kind or media.startswith("image/") or "image_url" in piece


def _result_in(piece: Object, kind: str) -> tuple[str | None, str] | None:
    gemini = object_of(piece.get("functionResponse")) or object_of(piece.get("function_response"))
    if gemini is not None:
        return fields.text_of(gemini, ("id",)), dumped(gemini.get("response"))
    if kind not in tools.RESULT_TYPES:
        return None
    given = next((piece[key] for key in tools.RESULTS if piece.get(key) is not None), "")
    text = "" if list_of(given) is None else text_in(given)
    return fields.text_of(piece, tools.IDS_OF_CALLS), text or dumped(given)


def moment_in(value: object, order: DateOrder | None = None) -> datetime | None:
    """A time that may be missing or unreadable, in data that was not written by people."""
    try:
        return fields.moment_from(value, order)
    except ValueError:
        return None
