"""How a conversation is shown to a judge, and how what the judge quotes is checked.

What was said is hostile: it may contain our own headings, a fake verdict, or an order to the
judge. So it is fenced by a tag that can't occur in it, and every line of it is indented; only we
write in the first column.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Annotated

from pydantic import Field

from evalqueue.codec import clean_text
from evalqueue.evaluators.conversation import UNKNOWN_TIME, Thread, ToolCall, Turn
from evalqueue.evaluators.judging.answers import Answer
from evalqueue.evaluators.judging.quotes import CheckedQuote, SearchedTexts

_INDENT = "    "


class Quote(Answer):
    """A span that the judge says is in the transcript."""

    turn: Annotated[int, Field(description="number of the turn")]
    quote: Annotated[str, Field(description="copied literally from that turn")]


def marker(thread: Thread, turn: Turn | None = None) -> str:
    """The lines that say what a prompt is about, outside the fence and safe from its content."""
    lines = [f"Thread: {json.dumps(thread.thread_id)}"]
    if turn is not None:
        lines.append(f"Turn to judge: {turn.number}")
    return "\n".join(lines)


def fence(name: str, content: str) -> str:
    """`content` between tags that it can't contain: they hold its own hash."""
    content = clean_text(content)  # lone surrogates can't be sent to a vendor either
    tag = f"{name}-{sha256(content.encode()).hexdigest()[:16]}"
    return f"<{tag}>\n{content}\n</{tag}>"


def quoted(name: str, content: str) -> str:
    """A part of what was said, fenced and indented."""
    return fence(name, _indented(content))


def shown(
    turns: Iterable[Turn],
    *,
    timed: bool = False,
    last_answer: bool = True,
    with_user: bool = True,
    with_bot: bool = True,
) -> str:
    """Turns as a judge reads them; without `last_answer` the last one ends at the user's words."""
    turns = list(turns)
    last = len(turns) - 1
    blocks = [
        _shown(
            turn,
            timed=timed,
            asked=with_user,
            answered=last_answer or number < last,
            with_bot=with_bot,
        )
        for number, turn in enumerate(turns)
    ]
    return "\n".join(blocks) or "(none)"


def with_instructions(shown: Sequence[Turn], turns: Sequence[Turn]) -> list[Turn]:
    """Turns in a row, the first with the instructions and tools that apply from a turn before it.

    Args:
        shown: at least one of the turns.
        turns: all turns of the conversation.
    """
    first, *others = shown
    earlier = [each for each in reversed(turns) if each.number <= first.number]
    system = next((each.system for each in earlier if each.system), None)
    tools = next((each.tools for each in earlier if each.tools), None)
    return [replace(first, system=system, tools=tools), *others]


def checked(
    quotes: Sequence[Quote], turns: Sequence[Turn], *, beside: Sequence[str] = ()
) -> list[CheckedQuote]:
    """The judge's quotes, each with whether it can be found in what the judge was shown.

    How it is spelt doesn't matter (`quotes.folded`); the turn's number doesn't either, because a
    true quote with a wrong number is still true.

    Args:
        quotes: what the judge quotes.
        turns: the turns that were shown.
        beside: what was shown beside them.
    """
    # Cleaned as it was shown: what can't be sent to a vendor can't be quoted either.
    searched = SearchedTexts([clean_text(each) for each in (*map(_all_of, turns), *beside)])
    return [
        {"turn": each.turn, "quote": each.quote, "in_transcript": searched.has(each.quote)}
        for each in quotes
    ]


def _all_of(turn: Turn) -> str:
    calls = [text for call in turn.tool_calls for text in (call.name, call.arguments, call.result)]
    texts = [turn.system, turn.user_text, turn.context, *calls, turn.bot_text, turn.error]
    return "\n".join(filter(None, texts))


def _shown(turn: Turn, *, timed: bool, asked: bool, answered: bool, with_bot: bool) -> str:
    is_timed = timed and turn.timestamp != UNKNOWN_TIME
    time = f" at {turn.timestamp:%Y-%m-%d %H:%M:%S}" if is_timed else ""
    image = " (image attached)" if turn.has_image else ""
    lines = [f"Turn {turn.number}{time}"]
    if turn.system:
        lines += ["Instructions of the bot (system prompt):", _indented(turn.system)]
    if turn.tools:
        lines += ["Tools that the bot could call:", _indented(turn.tools)]
    if asked:
        lines += [f"User{image}:", _indented(turn.user_text)]
    if turn.context:
        lines += ["Context given to the bot:", _indented(turn.context)]
    if answered:
        for number, call in enumerate(turn.tool_calls, start=1):
            lines += _shown_call(number, call)
    if answered and with_bot:
        lines += ["Bot:", _indented(turn.bot_text)]
    if answered and turn.error:
        lines += ["Error in production:", _indented(turn.error)]
    return "\n".join(lines)


def _shown_call(number: int, call: ToolCall) -> list[str]:
    # The tool's name was recorded, too: it stands where nothing can be mistaken for ours.
    lines = [f"Tool call {number}:", _indented(call.name), _indented(call.arguments or "(none)")]
    return [*lines, "Result:", _indented("(not recorded)" if call.result is None else call.result)]


def _indented(text: str) -> str:
    return "\n".join(_INDENT + line for line in text.splitlines()) or f"{_INDENT}(empty)"
