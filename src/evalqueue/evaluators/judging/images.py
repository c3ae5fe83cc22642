"""Photos: the judge can't see them, and they are the truth about a meal.

Both evaluators that could blame somebody for what only the photo shows ask here first.
"""

from collections.abc import Sequence
from enum import StrEnum

from evalqueue.evaluators.conversation import Thread, Turn

_RECENT_TURNS = 4


class ImageContext(StrEnum):
    """How near to a turn the last photo is."""

    NONE = "none"
    THIS_TURN = "this_turn"
    RECENT = "recent"
    EARLIER = "earlier"
    """Further back, yet an entry begun with a photo stays about that photo."""


def image_context(thread: Thread, turn: Turn) -> ImageContext:
    """Whether, and how, a turn stands under the impression of a photo."""
    if turn.has_image:
        return ImageContext.THIS_TURN
    behind = [turn.number - number for number in image_turns(thread) if number < turn.number]
    if not behind:
        return ImageContext.NONE
    return ImageContext.RECENT if min(behind) <= _RECENT_TURNS else ImageContext.EARLIER


def image_turns(thread: Thread) -> Sequence[int]:
    """The numbers of the turns that came with a photo."""
    return [turn.number for turn in thread.turns if turn.has_image]


def note(thread: Thread, turn: Turn) -> str:
    """One line for the judge about the photos up to a turn."""
    numbers = [str(number) for number in image_turns(thread) if number <= turn.number]
    if not numbers:
        return "none so far."
    return f"attached to turn {', '.join(numbers)}; the section on photos applies."
