"""The check of how long answers took."""

from evalqueue.evaluators.apps.checks import LatencyCheck
from evalqueue.evaluators.conversation import Turn
from evalqueue.evaluators.judging.checks.outcomes import CheckOutcome, CheckSubject


def latency(check: LatencyCheck, subject: CheckSubject) -> CheckOutcome | None:
    """What the slowest answer comes to. None: the data record no latency of any."""
    known = [each for turn in subject.turns if (each := _seconds(check, turn)) is not None]
    if not known:
        return None
    slowest = max(known)
    note = f"It took {slowest:,g} s; at most {check.max_seconds:,g} s are wanted"
    if len(known) < len(subject.turns):
        note += f" (of {len(subject.turns)} answers, the latency of {len(known)} is known)"
    return CheckOutcome(passed=slowest <= check.max_seconds, note=note)


def _seconds(check: LatencyCheck, turn: Turn) -> float | None:
    if turn.latency_seconds is None and check.from_timestamps:
        return turn.wait_seconds
    return turn.latency_seconds
