"""The check of tool calls: whether a tool was called with the right arguments."""

import json
from typing import Any, cast

from evalqueue.evaluators.apps.checks import ToolCalledCheck
from evalqueue.evaluators.conversation import ToolCall
from evalqueue.evaluators.judging.checks.outcomes import CheckOutcome, CheckSubject

_SHOWN = 200  # characters


def tool_called(check: ToolCalledCheck, subject: CheckSubject) -> CheckOutcome:
    calls = [call for turn in subject.turns for call in turn.tool_calls if call.name == check.tool]
    fitting = [call for call in calls if _holds(_arguments(call), check.arguments)]
    if fitting:
        note = f"{check.tool} was called with {fitting[0].arguments[:_SHOWN] or 'no arguments'}"
    elif calls:
        note = f"{check.tool} was called with other arguments: {calls[0].arguments[:_SHOWN]}"
    else:
        note = f"{check.tool} was not called"
    return CheckOutcome.of(bool(fitting) is check.must_be_called, note)


def _arguments(call: ToolCall) -> object:
    try:
        return json.loads(call.arguments) if call.arguments.strip() else {}
    except (ValueError, RecursionError):
        return call.arguments


def _holds(given: object, wanted: object) -> bool:
    """Whether a value is the wanted one; an object may have more keys."""
    if isinstance(wanted, dict):
        there = cast("dict[str, Any]", given) if isinstance(given, dict) else None
        return there is not None and all(
            key in there and _holds(there[key], each)
            for key, each in cast("dict[str, Any]", wanted).items()
        )
    if isinstance(wanted, bool) or isinstance(given, bool):
        return given is wanted
    return given == wanted
