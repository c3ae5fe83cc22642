"""The conversations of a dataset that a judge is shown, cut to a bounded number of characters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evalqueue.codec import clean_text
from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.judging import transcript
from evalqueue.postgres.database import Connection

THREADS_MAX = 20
CHARACTERS_MAX = 40_000
"""Of all conversations together."""
_TURNS_MAX = 12  # of a conversation
_MESSAGE_MAX = 600  # characters
_SYSTEM_MAX = 3_000  # characters of the bot's instructions


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownConversations:
    """What a judge is shown."""

    shown: str
    threads: int
    messages: Sequence[str]
    """What the users say in it."""


async def of_dataset(connection: Connection, dataset_id: str) -> ShownConversations:
    """Some conversations, spread evenly over those of a dataset."""
    ids = await datasets.thread_ids(connection, dataset_id)
    count = min(THREADS_MAX, len(ids))
    cut: list[Thread] = []
    for number in range(count):
        thread = await datasets.thread(connection, dataset_id, ids[number * len(ids) // count])
        if thread is not None:
            cut.append(_cut(thread))
    return _of_cut(cut)


def _of_cut(threads: Sequence[Thread]) -> ShownConversations:
    """All of them, each cut to its share of what the ones before it have left."""
    blocks: list[str] = []
    left = CHARACTERS_MAX
    for number, thread in enumerate(threads):
        block = f"Conversation {number + 1}\n{transcript.shown(thread.turns)}"
        blocks.append(clean_text(block, limit=left // (len(threads) - number)))
        left -= len(blocks[-1])
    return ShownConversations(
        shown=transcript.quoted("conversations", "\n\n".join(blocks)),
        threads=len(blocks),
        messages=[turn.user_text for thread in threads for turn in thread.turns],
    )


def _cut(thread: Thread) -> Thread:
    return replace(thread, turns=tuple(map(_cut_turn, thread.turns[:_TURNS_MAX])))


def _cut_turn(turn: Turn) -> Turn:
    """Only what was said, and the bot's instructions."""
    system = None if turn.system is None else clean_text(turn.system, limit=_SYSTEM_MAX)
    return Turn(
        number=turn.number,
        timestamp=turn.timestamp,
        user_text=clean_text(turn.user_text, limit=_MESSAGE_MAX),
        bot_text=clean_text(turn.bot_text, limit=_MESSAGE_MAX),
        has_image=turn.has_image,
        system=system,
    )
