"""Whether a defined evaluator has something to judge."""

from collections.abc import Mapping

from evalqueue.evaluators.conversation import Thread, Turn, TurnData
from evalqueue.evaluators.definitions.definition import AppliesWhen, TurnPart
from evalqueue.evaluators.judging.answers import same_label

DATA_OF: Mapping[TurnPart, TurnData] = {
    TurnPart.SYSTEM: TurnData.SYSTEM,
    TurnPart.CONTEXT: TurnData.CONTEXT,
    TurnPart.TOOLS: TurnData.TOOL_CALLS,
    TurnPart.ERRORS: TurnData.ERROR,
}
"""What must be recorded of a turn that has a part. All turns have the others."""


def applies_to_turn(when: AppliesWhen, turn: Turn) -> bool:
    """Whether a turn is judged."""
    return turn.number >= when.min_turns and _fits(when, turn)


def applies_to_thread(when: AppliesWhen, thread: Thread) -> bool:
    """Whether a conversation is judged: a turn of it fits."""
    return len(thread.turns) >= when.min_turns and any(_fits(when, turn) for turn in thread.turns)


def is_said(when: AppliesWhen, answer: str) -> bool:
    """Whether an answer of the bot is judged, as far as its text says."""
    return not when.bot_says or any(text in answer.lower() for text in when.bot_says)


def _fits(when: AppliesWhen, turn: Turn) -> bool:
    asked = turn.user_text.lower()
    return (
        all(_has(turn, part) for part in when.has)
        and is_said(when, turn.bot_text)
        and (not when.user_says or any(text in asked for text in when.user_says))
        and (not when.intents or _has_intent(when, turn))
    )


def _has(turn: Turn, part: TurnPart) -> bool:
    return part not in DATA_OF or bool(getattr(turn, DATA_OF[part]))


def _has_intent(when: AppliesWhen, turn: Turn) -> bool:
    recorded = turn.routed_intent
    return recorded is not None and any(same_label(recorded, each) for each in when.intents)
