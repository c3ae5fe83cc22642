"""The verdicts of efficiency, and what a judge answers."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from evalqueue.evaluators.judging import rules, transcript
from evalqueue.evaluators.judging.answers import Answer, Menu


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


class IncompleteReason(StrEnum):
    """Why a task was not completed though the bot made no error."""

    USER_INACTIVE = "user_inactive"
    DATA_TRUNCATED = "data_truncated"
    USER_CHOSE_TO_STOP = "user_chose_to_stop"


class FrictionTurn(Answer):
    """A turn that was needed on top, and why."""

    turn: int
    description: str
    cause: FrictionCause


class EfficiencyAnswer(Answer):
    """What the judge says about one thread."""

    evidence: list[transcript.Quote]
    thread_type: Annotated[str, Menu("thread_types")]
    friction_turns: list[FrictionTurn]
    rule_compliance: Annotated[
        list[rules.RuleFinding], Field(description="one entry for every rule")
    ]
    recovery_quality: Literal["GOOD", "PARTIAL", "FAILED", "NOT_NEEDED"]
    incomplete_reason: Literal["USER_INACTIVE", "DATA_TRUNCATED", "USER_CHOSE_TO_STOP"] | None
    failure_reason: str | None
    reasoning: str
    task_completed: bool
    verdict: Literal[
        "EFFICIENT", "ACCEPTABLE", "FRICTION", "BROKEN", "INCOMPLETE", "NOT_APPLICABLE"
    ]
