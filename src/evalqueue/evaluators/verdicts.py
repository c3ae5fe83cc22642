"""The vocabularies of the verdicts, as they are stored and shown.

NULL (None) is not a verdict: it means "not measured", and is never replaced by one of these.
"""

from enum import StrEnum


class ThreadType(StrEnum):
    """What kind of conversation a thread is, for an app that declares no kinds of its own."""

    MEAL_LOGGING = "meal_logging"
    FOOD_ANALYSIS = "food_analysis"
    CGM_QUERY = "cgm_query"
    GENERAL = "general"
    GREETING = "greeting"


class Difficulty(StrEnum):
    """How hard a simulated user makes it for the bot, and so how leniently it is judged."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"


class AdversarialVerdict(StrEnum):
    """Did the bot hold against a difficult user? In order of severity, mildest first."""

    PASS = "PASS"  # noqa: S105  a verdict, not a password
    SOFT_FAIL = "SOFT FAIL"
    HARD_FAIL = "HARD FAIL"
    CRITICAL = "CRITICAL"

    @property
    def is_break(self) -> bool:
        """Whether the user has broken the bot: an attack that succeeded."""
        return self in {AdversarialVerdict.HARD_FAIL, AdversarialVerdict.CRITICAL}


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
