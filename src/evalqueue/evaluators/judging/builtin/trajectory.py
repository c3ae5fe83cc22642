"""Trajectory: did the bot call the tools that people expect of it?

No judge is asked: the calls on record are compared with the expected ones, by the modes of
LangChain's AgentEvals. A conversation that has no expected calls is not measured.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TypedDict

from pydantic import BaseModel, ConfigDict

from evalqueue.evaluators.arguments import Arguments, ArgumentsCheck, NoSchema
from evalqueue.evaluators.conversation import ExpectedCall, Thread, ToolCall, TurnData
from evalqueue.evaluators.judging.evaluator import Evaluation
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.judging.plan import EvaluatorType
from evalqueue.evaluators.judging.quotes import CheckedQuote
from evalqueue.evaluators.judging.scores import (
    EvaluatorDeclaration,
    Score,
    ScoreDeclaration,
    ScoreKind,
)

NAME = "trajectory"
MAX_CALLS = 300
"""Of one conversation. Finding the best assignment of more would take too long."""
_REVISION = 1  # of the comparison: a change of its meaning is a new version of the scores
_SHOWN_CALLS = 20
_SHOWN_CHARACTERS = 500  # of one call's arguments
_CHARACTERS_IN_REASONING = 120

DECLARATION = EvaluatorDeclaration(
    name=NAME,
    title="Trajectory",
    question="Did the bot call the tools that were expected of it?",
    calls="No LLM calls. Needs expected_tool_calls in the data.",
    calls_llm=False,
    scores=(
        ScoreDeclaration(
            name="matched",
            title="Expected tool calls made",
            kind=ScoreKind.BOOLEAN,
            higher_is_better=True,
        ),
        ScoreDeclaration(
            name="missing",
            title="Missing tool calls",
            kind=ScoreKind.NUMBER,
            higher_is_better=False,
            minimum=0,
        ),
        ScoreDeclaration(
            name="extra",
            title="Unexpected tool calls",
            kind=ScoreKind.NUMBER,
            higher_is_better=False,
            minimum=0,
        ),
    ),
    headline="matched",
    details_key="trajectory_evaluation",
)


class TrajectoryMatch(StrEnum):
    """Which calls a bot may make besides the expected ones, and in which order."""

    STRICT = "strict"
    UNORDERED = "unordered"
    SUBSET = "subset"
    SUPERSET = "superset"


class TrajectoryParams(BaseModel):
    """How the tool calls of a conversation are compared with the expected ones."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    trajectory_match: TrajectoryMatch = TrajectoryMatch.STRICT
    """`strict`: the expected calls in their order, and no others; `unordered`: in any order;
    `subset`: no others, though some may be missing; `superset`: all of them, and others too."""
    trajectory_arguments: Arguments = Arguments.EXACT
    """How arguments are compared. `exact`: equal as JSON; `subset`, `superset`: a call has some of
    the expected arguments, or all and others too; `schema`: they satisfy the `arguments_schema` of
    the expected call, else the definition of the tool; `ignore`: names alone count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _MadeCall:
    """A call that the bot made."""

    turn: int
    call: ToolCall


class ShownCall(TypedDict):
    """A call as it is stored, with its arguments cut."""

    name: str
    arguments: str | None


class ShownMadeCall(ShownCall):
    """A call that the bot made."""

    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """Expected calls and those that were made, as far as they belong together."""

    missing: tuple[ExpectedCall, ...]
    extra: tuple[_MadeCall, ...]
    is_in_order: bool

    def matches(self, mode: TrajectoryMatch) -> bool:
        match mode:
            case TrajectoryMatch.STRICT:
                return not self.missing and not self.extra and self.is_in_order
            case TrajectoryMatch.UNORDERED:
                return not self.missing and not self.extra
            case TrajectoryMatch.SUBSET:
                return not self.extra
            case TrajectoryMatch.SUPERSET:
                return not self.missing


class TrajectoryEvaluator:
    """The evaluator of tool calls."""

    declaration = DECLARATION

    def __init__(self, *, mode: TrajectoryMatch, arguments: Arguments) -> None:
        self._mode = mode
        self._arguments = arguments
        canonical = json.dumps([_REVISION, mode, arguments])
        digest = sha256(canonical.encode()).hexdigest()[:12]
        self.version = f"{NAME}/{_REVISION}:{digest}"

    async def evaluate(self, thread: Thread, judge: Judge) -> Evaluation:
        expected = thread.expected_tool_calls
        if expected is None:
            return self._not_measured("The data has no expected_tool_calls.")
        made = [
            _MadeCall(turn=turn.number, call=call)
            for turn in thread.turns
            for call in turn.tool_calls
        ]
        if max(len(made), len(expected)) > MAX_CALLS:
            return self._not_measured(f"It has more than {MAX_CALLS} tool calls.")
        definitions = next((turn.tools for turn in thread.turns if turn.tools), None)
        try:
            check = ArgumentsCheck(self._arguments, definitions)
            found = await asyncio.to_thread(_compared, expected, made, check)
        except NoSchema as error:
            return self._not_measured(str(error))
        return self._measured(expected, made, found)

    def _measured(
        self, expected: Sequence[ExpectedCall], made: Sequence[_MadeCall], found: _Comparison
    ) -> Evaluation:
        matched = found.matches(self._mode)
        reasoning = _reasoning(expected, made, found)
        extra = [_shown_made(each) for each in found.extra]
        quotes: list[CheckedQuote] = [
            {"turn": each["turn"], "quote": _written(each), "in_transcript": True}
            for each in extra[:_SHOWN_CALLS]
        ]
        missing = [_shown_expected(each) for each in found.missing]
        return Evaluation(
            declaration=DECLARATION,
            version=self.version,
            scores=(
                Score(name="matched", value=matched, reasoning=reasoning),
                Score(name="missing", value=len(missing), reasoning=_listed(missing)),
                Score(name="extra", value=len(extra), evidence=quotes),
            ),
            details={
                "mode": self._mode.value,
                "arguments": self._arguments.value,
                "matched": matched,
                "expected_calls": len(expected),
                "calls": len(made),
                "missing": missing[:_SHOWN_CALLS],
                "extra": extra[:_SHOWN_CALLS],
                "is_in_order": found.is_in_order,
                "reasoning": reasoning,
            },
        )

    def _not_measured(self, reason: str) -> Evaluation:
        return Evaluation(
            declaration=DECLARATION,
            version=self.version,
            scores=(Score(name="matched", value=None, reasoning=reason, is_unknown=True),),
            details=None,
            unknown=1,
        )


def _compared(
    expected: Sequence[ExpectedCall], made: Sequence[_MadeCall], check: ArgumentsCheck
) -> _Comparison:
    fits = [
        [place for place, each in enumerate(made) if check.fits(wanted, each.call)]
        for wanted in expected
    ]
    assigned = _assigned(fits)
    return _Comparison(
        missing=tuple(each for place, each in enumerate(expected) if place not in assigned),
        extra=tuple(each for place, each in enumerate(made) if place not in set(assigned.values())),
        is_in_order=all(place in places for place, places in enumerate(fits)),
    )


def _assigned(fits: Sequence[Sequence[int]]) -> dict[int, int]:
    """As many expected calls as possible with a call that was made, each with another one.

    This is a maximum matching by augmenting paths (Kuhn's algorithm): taking the first call that
    fits could leave none for a stricter one.
    """
    owner: dict[int, int] = {}

    def assign(wanted: int, tried: set[int]) -> bool:
        for place in fits[wanted]:  # a free one first: most calls need no change of others
            if place not in owner:
                owner[place] = wanted
                return True
        for place in fits[wanted]:
            if place not in tried:
                tried.add(place)
                if assign(owner[place], tried):
                    owner[place] = wanted
                    return True
        return False

    for wanted in range(len(fits)):
        assign(wanted, set())
    return {wanted: place for place, wanted in owner.items()}


def _reasoning(
    expected: Sequence[ExpectedCall], made: Sequence[_MadeCall], found: _Comparison
) -> str:
    fitting = len(expected) - len(found.missing)
    parts = [f"{fitting} of {len(expected)} expected calls were made, of {len(made)} in all."]
    if found.missing:
        parts.append(f"Missing: {_listed([_shown_expected(each) for each in found.missing])}.")
    if found.extra:
        parts.append(f"Not expected: {_listed([_shown_made(each) for each in found.extra])}.")
    if not found.missing and not found.extra and not found.is_in_order:
        parts.append("Their order differs.")
    return " ".join(parts)


def _listed(calls: Sequence[ShownCall]) -> str:
    written = ", ".join(
        _cut(_written(each), _CHARACTERS_IN_REASONING) for each in calls[:_SHOWN_CALLS]
    )
    more = len(calls) - _SHOWN_CALLS
    return f"{written} and {more} more" if more > 0 else written


def _written(call: ShownCall) -> str:
    return f"{call['name']}({call['arguments'] or ''})"


def _shown_expected(call: ExpectedCall) -> ShownCall:
    arguments = call.arguments if call.arguments is not None else call.arguments_schema
    shown = None if arguments is None else _cut(arguments, _SHOWN_CHARACTERS)
    return {"name": call.name, "arguments": shown}


def _shown_made(made: _MadeCall) -> ShownMadeCall:
    arguments = _cut(made.call.arguments, _SHOWN_CHARACTERS)
    return {"turn": made.turn, "name": made.call.name, "arguments": arguments}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


EVALUATOR = EvaluatorType(
    declaration=DECLARATION,
    data=lambda _app: ({TurnData.EXPECTED_TOOL_CALLS},),
    make=lambda plan: TrajectoryEvaluator(
        mode=TrajectoryMatch(plan.options.get("trajectory_match", TrajectoryMatch.STRICT)),
        arguments=Arguments(plan.options.get("trajectory_arguments", Arguments.EXACT)),
    ),
    on_request=True,
)
