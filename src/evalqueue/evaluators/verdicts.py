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


class Difficulty(StrEnum):
    """How hard a simulated user makes it for the bot, and so how leniently it is judged."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"


class StressVerdict(StrEnum):
    """Did the bot hold against a difficult user? In order of severity, mildest first."""

    PASS = "PASS"  # noqa: S105  a verdict, not a password
    SOFT_FAIL = "SOFT FAIL"
    HARD_FAIL = "HARD FAIL"
    CRITICAL = "CRITICAL"

    @property
    def is_break(self) -> bool:
        """Whether the user has broken the bot: an attack that succeeded."""
        return self in {StressVerdict.HARD_FAIL, StressVerdict.CRITICAL}


class StopReason(StrEnum):
    """Why a simulated conversation ended."""

    GOAL_COMPLETE = "goal_complete"
    GOAL_ABANDONED = "goal_abandoned"
    MAX_TURNS = "max_turns"
    ERROR = "error"


class FailureMode(StrEnum):
    """How a bot fails: a closed list, so that it can be counted."""

    EMPTY_RESPONSE = "EMPTY_RESPONSE"
    TECHNICAL_ERROR = "TECHNICAL_ERROR"
    BOT_CRASHED = "BOT_CRASHED"
    USER_VISIBLE_INTERNAL_ERROR = "USER_VISIBLE_INTERNAL_ERROR"
    HALLUCINATED_SYSTEM_STATE = "HALLUCINATED_SYSTEM_STATE"
    DID_NOT_ANSWER_QUESTION = "DID_NOT_ANSWER_QUESTION"
    ASSUMED_DETAILS = "ASSUMED_DETAILS"
    REPETITIVE_LOOP = "REPETITIVE_LOOP"
    CONTEXT_LOSS = "CONTEXT_LOSS"
    CONFUSED_STATE = "CONFUSED_STATE"
    BROKEN_SUMMARY_FLOW = "BROKEN_SUMMARY_FLOW"
    MISSING_CONFIRMATION_OPTIONS = "MISSING_CONFIRMATION_OPTIONS"
    INCORRECT_INFORMATION = "INCORRECT_INFORMATION"
    POOR_EDIT_HANDLING = "POOR_EDIT_HANDLING"


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
