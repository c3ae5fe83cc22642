"""What a gate requires, as people write it.

correctness.pass >= 0.9         the share of a label of the evaluator's headline
intent.accuracy > 0.8           the mean of a number, or the share of "yes"
efficiency.verdict.broken <= 0.05
resolution no worse             than the baseline, by at most 0.05
efficiency no worse by 0.02
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from evalqueue.errors import Refused

_BOUND = re.compile(
    r"(?P<what>[^\s<>=]+)\s*(?P<operator>>=|<=|>|<)\s*(?P<bound>-?\d+(\.\d+)?)(?P<percent>%?)"
)
_NO_WORSE = re.compile(
    r"(?P<what>[^\s<>=]+)\s+no\s+worse(\s+by\s+(?P<margin>\d+(\.\d+)?)(?P<percent>%?))?"
)
_EXAMPLES = "'correctness.pass >= 0.9' or 'correctness no worse by 0.02'"
MAX_TEXT = 300


class BadRequirement(Refused):
    """A requirement that can't be read, or that asks for what a run does not have."""


class Operator(StrEnum):
    """How a value is compared with its bound."""

    AT_LEAST = ">="
    AT_MOST = "<="
    ABOVE = ">"
    BELOW = "<"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTarget:
    """What is asked about: an evaluator's headline, one of its scores, or a label of them."""

    evaluator: str
    parts: tuple[str, ...] = ()
    """The name of a score, a label, or both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A share (0 to 1) or a mean has to lie on one side of a value."""

    text: str
    target: ScoreTarget
    operator: Operator
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoWorse:
    """A score must not be worse than in the baseline by more than a margin."""

    text: str
    target: ScoreTarget
    margin: float | None
    """A share (0 to 1), or in a number's unit. None: 0.05 of the score's range."""


Requirement = Bound | NoWorse


def parse(text: str) -> Requirement:
    """A requirement.

    Raises:
        BadRequirement: it is none.
    """
    stripped = text.strip()
    if len(stripped) > MAX_TEXT:
        raise BadRequirement(f"A requirement has at most {MAX_TEXT} characters")
    if found := _BOUND.fullmatch(stripped):
        return Bound(
            text=stripped,
            target=_target(found["what"]),
            operator=Operator(found["operator"]),
            bound=_number(found["bound"], found["percent"]),
        )
    if found := _NO_WORSE.fullmatch(stripped):
        margin = found["margin"]
        return NoWorse(
            text=stripped,
            target=_target(found["what"]),
            margin=None if margin is None else _number(margin, found["percent"]),
        )
    raise BadRequirement(f"{stripped!r} is not a requirement: write {_EXAMPLES}")


def _number(text: str, percent: str) -> float:
    return float(text) / (100 if percent else 1)


def _target(text: str) -> ScoreTarget:
    evaluator, *parts = text.split(".")
    return ScoreTarget(evaluator=evaluator, parts=tuple(parts))


def key(label: str) -> str:
    """A label as requirements spell it: case, spaces, - and _ don't count."""
    return re.sub(r"[\s_-]+", "_", label.strip().casefold())
