"""The JSON objects in a judge's text, without its reasoning.

Only what follows the last reasoning block is the answer: a judge weighs drafts before it decides.
An object that is not closed is none, so a text that was cut off holds no answer. The second,
lenient reading mends notation only (a trailing comma, a raw line break, Python's quotes, a
comment). It never adds, drops or chooses content, so what it returns is what the judge wrote.
"""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

MAX_OBJECTS = 200
"""A text with more objects holds no answer."""
_MAX_UNCLOSED = 50
_MAX_WRAPPERS = 4

_NAMES = (
    "think|thinking|thought|thoughts|reason|reasoning|reflection|scratchpad|analysis|deliberation|"
    r"seed:think|antml:thinking|\|begin_of_thought\|"
)
_OPENING = re.compile(
    rf"<(?P<name>{_NAMES})(?:\s[^<>]*)?>|\[(?P<square>THINK)\]|◁(?P<kimi>think)▷"
    r"|<\|channel\|?>\s*(?P<channel>analysis|commentary|thought)\b",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"</(?:think|thinking|thought|thoughts|reason|reasoning|reflection|scratchpad|analysis|"
    r"deliberation|seed:think|antml:thinking)\s*>|<\|end_of_thought\|>|\[/THINK\]|◁/think▷"
    r"|<\|channel\|>\s*final\s*(?:<\|constrain\|>\s*\w+\s*)?<\|message\|>|<channel\|>",
    re.IGNORECASE,
)
_DRAFT = re.compile(
    r"draft|example|think|thought|reason|first|initial|tentative|previous|old|schema|alternative|"
    r"candidate|option|hypothe",
    re.IGNORECASE,
)
_MARK = re.compile(rf"{_OPENING.pattern}|\{{|(?P<closing>{_CLOSING.pattern})", re.IGNORECASE)
_TOKEN = re.compile(r'[{}]|"(?:[^"\\]|\\.)*+(?P<end>")?', re.DOTALL)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_TRAILING_COMMA = re.compile(r",(?=\s*[}\]])")


def objects(text: str) -> Iterator[str]:
    """The outermost complete `{…}` spans after the last reasoning block, in their order."""
    text = text.strip()
    if _is_one_object(text):  # a block inside its strings is a quotation
        yield text
        return
    found: list[str] = []
    position = unclosed = 0
    while (mark := _MARK.search(text, position)) is not None:
        if mark["closing"] is not None:
            found.clear()
            position = mark.end()
        elif mark[0] == "{":
            end = _end_of_object(text, mark.start())
            if end is None:
                # Prose, if a block ends after it; else an answer that was cut off.
                block_end = _CLOSING.search(text, mark.end())
                unclosed += 1
                if block_end is None or unclosed > _MAX_UNCLOSED:
                    return
                position = block_end.start()
                continue
            found.append(text[mark.start() : end])
            position = end
        else:
            found.clear()
            block_end = _CLOSING.search(text, mark.end())
            if block_end is None:  # it never got beyond its reasoning
                return
            position = block_end.end()
    if len(found) <= MAX_OBJECTS:
        yield from found


def lenient(span: str) -> Any:
    """The value of a complete object whose notation is not strict JSON.

    Raises:
        ValueError: it has other faults.
    """
    for read in (_as_json, _as_python):
        try:
            return read(span)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    raise ValueError("the object is neither JSON nor a Python literal")


def unwrapped(value: Any) -> Iterator[Any]:
    """What a wrapper holds, outermost first: `{"result": {…}}`, `[{…}]`, a string of JSON.

    A wrapper has one value that is an object or a list, and only scalars beside it. One that is
    named as a draft or an example is no answer.
    """
    for _ in range(_MAX_WRAPPERS):
        inner = _inner(value)
        if inner is None:
            return
        value = inner
        yield value


def _inner(value: Any) -> Any:
    match value:
        case dict():
            wrapper = cast("Mapping[Any, Any]", value)
            inside = [key for key, each in wrapper.items() if _holds_more(each)]
            if len(inside) != 1 or _DRAFT.search(str(inside[0])):
                return None
            return wrapper[inside[0]]
        case list():
            listed = cast("list[Any]", value)
            return listed[0] if len(listed) == 1 else None
        case str() if _is_text_of_object(value):
            try:
                return json.loads(value)
            except (ValueError, RecursionError):
                return None
        case _:
            return None


def _holds_more(value: Any) -> bool:
    return isinstance(value, dict | list) or _is_text_of_object(value)


def _is_text_of_object(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip().startswith("{") and value.endswith("}")


def _is_one_object(text: str) -> bool:
    return text.startswith("{") and _end_of_object(text, 0) == len(text)


def _end_of_object(text: str, start: int) -> int | None:
    """The end of the object that starts here; None: it is not closed."""
    depth = 0
    for mark in _TOKEN.finditer(text, start):
        match mark[0]:
            case "{":
                depth += 1
            case "}":
                depth -= 1
                if not depth:
                    return mark.end()
            case _ if mark["end"] is None:  # a string that is not closed
                return None
            case _:
                pass
    return None


def _as_json(span: str) -> Any:
    try:
        return json.loads(span, strict=False)
    except ValueError:
        return json.loads(_outside_strings(span), strict=False)


def _as_python(span: str) -> Any:
    return ast.literal_eval(span.replace("\r\n", "\n"))


def _outside_strings(span: str) -> str:
    """The span without comments and trailing commas."""
    parts = re.split(r'("(?:[^"\\]|\\.)*+")', span, flags=re.DOTALL)
    # A comma and the bracket after it are never in different parts, except around a comment.
    return "".join(
        part if number % 2 else _TRAILING_COMMA.sub("", _COMMENT.sub("", part))
        for number, part in enumerate(parts)
    )
