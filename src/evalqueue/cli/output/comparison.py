"""Comparisons and gates as text, JSON, JUnit reports and annotations."""

from collections.abc import Iterator
from dataclasses import asdict
from uuid import UUID
from xml.etree import ElementTree

from evalqueue.evaluators.comparison.compare import Comparison, ScoreChange, ScoreComparison
from evalqueue.evaluators.comparison.gate import Decision, GateCheck, Verdict
from evalqueue.evaluators.judging.scores import ScoreKind

_SHOWN_FLIPS = 20
_WORDS = {
    Decision.PASSED: "passed",
    Decision.FAILED: "failed",
    Decision.NOT_DECIDABLE: "not decidable",
}


def text(comparison: Comparison) -> str:
    """A comparison for people."""
    both = comparison.conversations.both
    lines = [f"{both} conversations are in both runs.", *comparison.notes, ""]
    lines += [_score_line(each) for each in comparison.scores]
    if comparison.flips:
        lines += ["", "Changed conversations, the worst first:"]
        lines += [
            f"  {each.thread_id}  {each.evaluator}.{each.name}: {each.before} → {each.after}"
            for each in comparison.flips[:_SHOWN_FLIPS]
        ]
        if len(comparison.flips) > _SHOWN_FLIPS:
            lines.append("  … more with --json")
    return "\n".join(lines)


def _score_line(score: ScoreComparison) -> str:
    if score.change is ScoreChange.NOT_COMPARED or score.before is None or score.after is None:
        return f"{score.title}: not compared. {score.reason}."
    what = "mean" if score.kind is ScoreKind.NUMBER else "good"
    values = f"{what} {_value(score, score.before)} → {_value(score, score.after)}"
    difference = score.difference
    if difference is None:
        return f"{score.title}: {values}; one conversation gives no interval."
    low, high = (_value(score, each, "+") for each in (difference.low, difference.high))
    interval = f"95 % interval {low} to {high}"
    chance = "" if difference.p_value is None else f", p = {difference.p_value:.3g}"
    moved = f"{score.improved} better, {score.worsened} worse of {difference.pairs}"
    shown = (
        score.change.value
        if score.change is not ScoreChange.UNCLEAR
        else _undecided(score, difference.detectable)
    )
    return f"{score.title}: {shown}. {values}, {interval}{chance}; {moved}."


def _undecided(score: ScoreComparison, detectable: float) -> str:
    if not detectable:
        return "no difference"
    return f"no difference shown; one of {_value(score, detectable)} would have been"


def _value(score: ScoreComparison, value: float, sign: str = "") -> str:
    return f"{value:{sign}.3g}" if score.kind is ScoreKind.NUMBER else f"{value:{sign}.1%}"


def verdict_as_json(verdict: Verdict, *, run_id: UUID) -> dict[str, object]:
    """What a gate says, as JSON."""
    return {
        "run_id": str(run_id),
        "decision": verdict.decision.value,
        "requirements": [asdict(each) for each in verdict.checks],
    }


def verdict_text(verdict: Verdict) -> str:
    """What a gate says, for people."""
    lines = [f"{_WORDS[e.decision]}: {e.requirement} ({e.explanation})" for e in verdict.checks]
    return "\n".join([*lines, f"The gate: {_WORDS[verdict.decision]}."])


def annotations(verdict: Verdict) -> Iterator[str]:
    """Workflow commands of GitHub Actions, for what has not passed."""
    for check in verdict.checks:
        if check.decision is not Decision.PASSED:
            level = "error" if check.decision is Decision.FAILED else "warning"
            message = f"{check.requirement}: {_WORDS[check.decision]} ({check.explanation})"
            yield f"::{level} title=evalqueue gate::{_escaped(message)}"


def _escaped(message: str) -> str:
    return message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def junit(verdict: Verdict, *, name: str) -> bytes:
    """A JUnit report: what is not decidable is an error, as nothing was found out."""
    checks = verdict.checks
    suite = ElementTree.Element(
        "testsuite",
        name=name,
        tests=str(len(checks)),
        failures=str(sum(each.decision is Decision.FAILED for each in checks)),
        errors=str(sum(each.decision is Decision.NOT_DECIDABLE for each in checks)),
    )
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", name=check.requirement, classname="gate")
        _outcome(case, check)
    return ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)


def _outcome(case: ElementTree.Element, check: GateCheck) -> None:
    if check.decision is not Decision.PASSED:
        kind = "failure" if check.decision is Decision.FAILED else "error"
        ElementTree.SubElement(case, kind, message=check.explanation)
