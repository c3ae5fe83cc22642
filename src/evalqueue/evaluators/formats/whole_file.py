"""Reads a small file into memory, to try an evaluator without a database."""

from collections.abc import Iterable
from pathlib import Path

from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.formats import Faults, Message
from evalqueue.evaluators.formats.registry import format_of


def read_threads(path: Path) -> tuple[Thread, ...]:
    """The conversations of a file, in order of first appearance. Blocks.

    Raises:
        BadData: some rows are bad.
    """
    faults = Faults(path.name)
    with path.open("rb") as file:
        messages = list(format_of(file, name=path.name).messages(file, faults))
    faults.raise_if_any()
    return grouped(messages)


def grouped(messages: Iterable[Message]) -> tuple[Thread, ...]:
    """Groups messages into conversations."""
    by_thread: dict[str, list[Message]] = {}
    for message in messages:
        by_thread.setdefault(message.thread_id, []).append(message)
    return tuple(
        _thread(sorted(of_one, key=lambda message: message.timestamp))  # stable
        for of_one in by_thread.values()
    )


def _thread(messages: list[Message]) -> Thread:
    return Thread(
        thread_id=messages[0].thread_id,
        user_id=messages[0].user_id,
        turns=tuple(
            Turn(
                number=number,
                timestamp=message.timestamp,
                user_text=message.user_text,
                bot_text=message.bot_text,
                routed_intent=message.routed_intent,
                routed_query_type=message.routed_query_type,
                has_image=message.has_image,
                error=message.error,
                session_id=message.session_id,
                response_id=message.response_id,
            )
            for number, message in enumerate(messages, start=1)
        ),
    )
