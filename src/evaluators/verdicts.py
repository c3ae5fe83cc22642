"""The vocabularies of the verdicts, as they are stored and shown.

NULL (None) is not a verdict: it means "not measured", and is never replaced by one of these.
"""

from collections.abc import Iterable
from enum import StrEnum


class Correctness(StrEnum):
    """Is the bot's answer right? In order of severity, mildest first."""

    NOT_APPLICABLE = "NOT APPLICABLE"
    PASS = "PASS"  # noqa: S105  a verdict, not a password
    SOFT_FAIL = "SOFT FAIL"
    HARD_FAIL = "HARD FAIL"
    CRITICAL = "CRITICAL"


class Efficiency(StrEnum):
    """Did the user get there without friction?"""

    EFFICIENT = "EFFICIENT"
    ACCEPTABLE = "ACCEPTABLE"
    FRICTION = "FRICTION"
    BROKEN = "BROKEN"
    INCOMPLETE = "INCOMPLETE"
    NOT_APPLICABLE = "NOT APPLICABLE"


class Recovery(StrEnum):
    """How the bot recovered from friction."""

    GOOD = "GOOD"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    NOT_NEEDED = "NOT NEEDED"


class FrictionCause(StrEnum):
    """Whose doing an extra turn was."""

    USER = "USER"
    BOT = "BOT"


class ThreadType(StrEnum):
    """What kind of conversation a thread is; only meal logging has an efficiency."""

    MEAL_LOGGING = "meal_logging"
    FOOD_ANALYSIS = "food_analysis"
    CGM_QUERY = "cgm_query"
    GENERAL = "general"
    GREETING = "greeting"


class IncompleteReason(StrEnum):
    """Why a task was not completed though the bot made no error."""

    USER_INACTIVE = "user_inactive"
    DATA_TRUNCATED = "data_truncated"
    USER_CHOSE_TO_STOP = "user_chose_to_stop"


class RuleStatus(StrEnum):
    """Whether a rule was kept. Only FOLLOWED and VIOLATED enter a compliance rate."""

    FOLLOWED = "FOLLOWED"
    VIOLATED = "VIOLATED"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    NOT_EVALUATED = "NOT_EVALUATED"
    """The judge did not say: not the same as followed."""


_SEVERITY = list(Correctness)


def worst(verdicts: Iterable[Correctness]) -> Correctness | None:
    """The most severe of some verdicts; None when nothing was measured."""
    return max(verdicts, key=_SEVERITY.index, default=None)
