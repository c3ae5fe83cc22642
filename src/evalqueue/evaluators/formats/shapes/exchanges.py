"""What was sent to a bot and what it answered: texts, messages, requests and responses of SDKs."""

from collections.abc import Callable, Mapping
from typing import Any

from evalqueue.evaluators.formats import DateOrder
from evalqueue.evaluators.formats.shapes import Object, ShapeError, fields, tools
from evalqueue.evaluators.formats.shapes.assembly import Part
from evalqueue.evaluators.formats.shapes.content import beside, is_message, part_of, text_in
from evalqueue.evaluators.formats.shapes.fields import dumped, inside, list_of, object_of
from evalqueue.evaluators.formats.values.cells import with_input

_QUESTIONS = ("question", "query", "prompt", "instruction", "text", "input", "content",
              "user_input", "message")  # fmt: skip
_ANSWERS = ("answer", "text", "output", "content", "response", "result", "completion", "message",
            "output_text")  # fmt: skip
_LISTS = ("messages", "contents", "input")
_SETTINGS_BESIDE = frozenset({"model", *_LISTS[:2]})
"""Keys of an SDK's request, whose other texts are settings. Those of a chain are variables."""
_NO_VARIABLES = frozenset({
    "type", "role", "stop", "run_id", "agent_scratchpad", *fields.THREAD, *fields.ID, *fields.USER,
    *fields.SESSION, *fields.TIME, *fields.SYSTEM, *fields.CONTEXT, *fields.HISTORY,
    *fields.EXPECTED, *fields.ERROR, *tools.DEFINITIONS,
})  # fmt: skip


def asked_in(value: object, column: str, order: DateOrder | None) -> list[Part]:
    """The messages of what was sent to a bot: a text, messages, or an SDK's request.

    Raises:
        ShapeError: there are none.
    """
    if isinstance(value, str):
        return [Part(role="user", text=value)]
    if list_of(value) is not None:
        return _items(value, column, order)
    known = object_of(value)
    if known is None:
        raise ShapeError(column, "it is neither a text nor messages.")
    if list_of(known.get("args")):  # a Python call, as decorators record it
        asked = asked_in(known["args"][0], f"{column}.args[0]", order)
        more = {f"args[{place}]": each for place, each in enumerate(known["args"]) if place}
        return [*_given_in({**more, **(object_of(known.get("kwargs")) or {})}), *asked]
    if object_of(known.get("kwargs")) and "lc" not in known:
        return asked_in(known["kwargs"], f"{column}.kwargs", order)
    return _asked_in_object(known, column, order)


def _asked_in_object(known: Object, column: str, order: DateOrder | None) -> list[Part]:
    found = beside(known)
    if is_message(known):  # which has its context itself
        return [*(each for each in found if each.role == "system"), part_of(known, column, order)]
    found += history_in(known, f"{column}.", order)
    for key in _LISTS:
        if list_of(known.get(key)) is not None:
            found += _items(known[key], f"{column}.{key}", order)
    key = next((key for key in _QUESTIONS if isinstance(known.get(key), str)), None)
    if key is not None and not (found and found[-1].role == "user"):
        used = {key, "input"} if key == "instruction" else {key}
        about = known.get("input") if key == "instruction" else None
        text = with_input(known[key], about if isinstance(about, str) else "")
        found += [*_variables(known, used), Part(role="user", text=text)]
    if not any(part.role in ("user", "assistant") for part in found):
        raise ShapeError(column, "it has no messages, and no question.")
    return found


def history_in(record: Object, place: str, order: DateOrder | None) -> list[Part]:
    """The earlier turns that a record has beside its question: messages, or lists of pairs.

    Raises:
        ShapeError: they can't be read.
    """
    for key in fields.HISTORY:
        given = list_of(record.get(key)) or []
        texts = [each for each in given if isinstance(each, str)]
        pairs = [pair for each in given if (pair := list_of(each)) and is_pair_of_texts(pair)]
        if given and len(pairs) == len(given):
            roles = ("user", "assistant")
            return [
                Part(role=role, text=text)
                for pair in pairs
                for role, text in zip(roles, pair, strict=True)
            ]
        if isinstance(record.get(key), str):
            texts = [record[key]]
        elif given and not texts:
            return _items(given, f"{place}{key}", order)
        if "".join(texts).strip():  # who has said what is not known
            return [Part(role="context", text="\n".join(texts))]
    return []


def is_pair_of_texts(value: object) -> bool:
    """Whether it is a question and its answer in a list."""
    pair = list_of(value) or []
    return [type(each) for each in pair] == [str, str]


def _given_in(known: Object) -> list[Part]:
    """What a call was given besides its first argument."""
    return [*beside(known), *_variables(known, set())]


def _variables(known: Object, used: set[str]) -> list[Part]:
    """The texts that a chain was given besides its question, as one text of context."""
    if _SETTINGS_BESIDE & known.keys():
        return []
    asked = {known[key] for key in used if isinstance(known.get(key), str)}
    lines: list[str] = []
    for key, given in known.items():
        listed = list_of(given) or [given]
        text = "\n".join(each for each in listed if isinstance(each, str))
        if text.strip() and text not in asked and key not in used and key not in _NO_VARIABLES:
            lines.append(f"{key}: {text}")
    return [Part(role="context", text="\n".join(lines))] if lines else []


def answered_in(value: object, column: str, order: DateOrder | None) -> list[Part]:
    """The messages of what a bot has answered: a text, messages, or an SDK's response."""
    if value is None:
        return [Part(role="assistant", text="")]
    if isinstance(value, str):
        return [Part(role="assistant", text=value)]
    if list_of(value) is not None:
        return _items(value, column, order)
    known = object_of(value)
    if known is None:
        return [Part(role="assistant", text=dumped(value))]
    for read in _RESPONSES:
        if (found := read(known, column, order)) is not None:
            break
    else:
        text = _text_under(known, _ANSWERS)
        error = fields.error_of(known)
        text = dumped(value) if text is None and error is None else text or ""
        found = [Part(role="assistant", text=text, error=error)]
    response_id = fields.text_of(known, ("id", "responseId"))
    if found and found[-1].role == "assistant":
        found[-1].response_id = found[-1].response_id or response_id
        found[-1].error = found[-1].error or fields.error_of(known)
    return found


def _of_choices(known: Object, column: str, order: DateOrder | None) -> list[Part] | None:
    """OpenAI's chat completions, and completions."""
    choices = list_of(known.get("choices"))
    if choices is None:
        return None
    choice = object_of(choices[0]) if choices else None
    if choice is None:
        return [Part(role="assistant", text="")]
    if object_of(choice.get("message")) is not None:
        message = {"role": "assistant", **choice["message"]}
        return [part_of(message, f"{column}.choices[0].message", order)]
    return [Part(role="assistant", text=text_in(choice.get("text")))]


def _of_candidates(known: Object, column: str, order: DateOrder | None) -> list[Part] | None:
    """Gemini's responses."""
    candidates = list_of(known.get("candidates"))
    if candidates is None:
        return None
    content = inside(candidates[0] if candidates else None, "content")
    if content is None:
        reason = inside(known, "promptFeedback", "blockReason")
        reason = reason or inside(candidates[0] if candidates else None, "finishReason")
        return [Part(role="assistant", text="", error=fields.error_text(reason))]
    return [part_of({"role": "model", **content}, f"{column}.candidates[0].content", order)]


def _of_output(known: Object, column: str, order: DateOrder | None) -> list[Part] | None:
    """OpenAI's Responses, and whatever nests messages."""
    for key in ("output", "messages", "outputs"):
        if list_of(known.get(key)) is not None:
            return _items(known[key], f"{column}.{key}", order)
    return None


def _of_generations(known: Object, column: str, order: DateOrder | None) -> list[Part] | None:
    """LangChain's results."""
    generations = list_of(known.get("generations"))
    while generations and list_of(generations[0]) is not None:
        generations = list_of(generations[0])
    generation = object_of(generations[0]) if generations else None
    if generation is None:
        return None
    if "message" in generation:
        return [part_of(generation["message"], f"{column}.generations[0]", order)]
    return [Part(role="assistant", text=text_in(generation.get("text")))]


def _of_message(known: Object, column: str, order: DateOrder | None) -> list[Part] | None:
    """A message, or Anthropic's response, which is one."""
    return [part_of(known, column, order)] if is_message(known) else None


_RESPONSES: tuple[Callable[[Object, str, DateOrder | None], list[Part] | None], ...] = (
    _of_choices, _of_candidates, _of_generations, _of_message, _of_output,
)  # fmt: skip


def _items(value: object, column: str, order: DateOrder | None) -> list[Part]:
    """A list of messages, or of the items of OpenAI's Responses."""
    found: list[Part] = []
    for place, each in enumerate(list_of(value) or []):
        if isinstance(each, str):
            found.append(Part(role="user", text=each))
            continue
        item = object_of(each)
        kind = None if item is None else item.get("type")
        if item is not None and kind == "function_call":
            found.append(Part(role="assistant", text="", calls=[tools.call_of(item)]))
        elif item is not None and kind == "function_call_output":
            result = (fields.text_of(item, tools.IDS_OF_CALLS), dumped(item.get("output")))
            found.append(Part(role="tool", text="", results=[result]))
        elif item is not None and isinstance(kind, str) and "role" not in item and (
            "reasoning" in kind or kind.endswith("_call")
        ):  # fmt: skip
            continue
        elif list_of(each) is not None:
            found += _items(each, f"{column}[{place}]", order)
        else:
            found.append(part_of(each, f"{column}[{place}]", order))
    return found


def _text_under(known: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        if isinstance(known.get(key), str):
            return known[key]
    return None
