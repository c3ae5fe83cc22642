"""What can be counted in a conversation without a judge: turns, and what was said twice."""

import re
from collections.abc import Iterator
from typing import TypedDict

from evalqueue.evaluators.conversation import Thread

_SAME_QUESTION_OVERLAP = 0.8  # of the words of two questions, shared ÷ all
_SHORTEST_QUESTION_WORDS = 3
# From where the sentence begins, and from nowhere else: linear in the length of the text.
_QUESTION = re.compile(r"(?<![^.!?…\n|])[^.!?…\n|]*+\?")


class RepeatedQuestion(TypedDict):
    """A question of the bot that it had asked before."""

    turn: int
    first_asked_in: int
    """Number of a turn."""
    question: str


class ConversationCounts(TypedDict):
    """What was counted, as it is stored."""

    turns: int
    ideal_turns: int
    extra_turns: int
    duration_seconds: float
    turns_with_errors: list[int]
    repeated_bot_questions: list[RepeatedQuestion]
    repeated_user_messages: list[int]
    """Numbers of turns."""


def counted(thread: Thread, *, ideal_turns: int) -> ConversationCounts:
    """What can be said about a thread without a judge."""
    return {
        "turns": len(thread.turns),
        "ideal_turns": ideal_turns,
        "extra_turns": max(0, len(thread.turns) - ideal_turns),
        "duration_seconds": thread.duration.total_seconds(),
        "turns_with_errors": [turn.number for turn in thread.turns if turn.error],
        "repeated_bot_questions": list(_repeated_questions(thread)),
        "repeated_user_messages": list(_repeated_messages(thread)),
    }


def _repeated_questions(thread: Thread) -> Iterator[RepeatedQuestion]:
    """Questions of the bot that it had asked before, in nearly the same words."""
    asked: list[tuple[int, frozenset[str]]] = []
    for turn in thread.turns:
        questions = [question.strip() for question in _QUESTION.findall(turn.bot_text)]
        for question in questions:
            words = frozenset(re.findall(r"\w+", question.casefold()))
            if len(words) < _SHORTEST_QUESTION_WORDS:
                continue
            earlier = next((n for n, other in asked if _overlap(words, other)), None)
            if earlier is not None and earlier != turn.number:
                yield {"turn": turn.number, "first_asked_in": earlier, "question": question}
            asked.append((turn.number, words))


def _overlap(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= _SAME_QUESTION_OVERLAP * len(one | other)


def _repeated_messages(thread: Thread) -> Iterator[int]:
    """Turns whose user message had been sent before, word for word."""
    seen: set[str] = set()
    for turn in thread.turns:
        message = " ".join(turn.user_text.casefold().split())
        if message in seen:
            yield turn.number
        if message:
            seen.add(message)
