"""The check of how long answers took."""

from evalqueue.evaluators.apps.checks import LatencyCheck
from evalqueue.evaluators.conversation import Turn
from evalqueue.evaluators.judging.checks.outcomes import CheckOutcome, CheckSubject


def latency(check: LatencyCheck, subject: CheckSubject) -> CheckOutcome:
    """What the slowest answer comes to. One that is not known may have been slower."""
    known = [each for turn in subject.turns if (each := _seconds(check, turn)) is not None]
    if not known:
        return CheckOutcome.not_measured(_unknown(check))
    slowest = max(known)
    note = f"It took {slowest:,g} s; at most {check.max_seconds:,g} s are wanted"
    if len(known) < len(subject.turns):
        note += f" (of {len(subject.turns)} answers, the latency of {len(known)} is known)"
        if slowest <= check.max_seconds:
            return CheckOutcome.not_measured(note)
    return CheckOutcome.of(slowest <= check.max_seconds, note)


def _unknown(check: LatencyCheck) -> str:
    if check.from_timestamps:
        return "the data record neither a latency in a known unit nor the times of messages"
    return "the data record no latency in a known unit"


def _seconds(check: LatencyCheck, turn: Turn) -> float | None:
    if turn.latency_seconds is None and check.from_timestamps:
        return turn.wait_seconds
    return turn.latency_seconds
