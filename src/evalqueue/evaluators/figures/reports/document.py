"""The report of a run as one HTML file: no scripts, and nothing from elsewhere.

All texts come from conversations and judges. The template escapes each of them, and the policy that
stands in the file itself lets a browser use nothing but the file's own style.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evalqueue.evaluators.adversarial.dialogue import EXCHANGE, Exchange
from evalqueue.evaluators.adversarial.findings import AdversarialRow, without_quotes
from evalqueue.evaluators.batch.distributions import LabelShare, ScoreStatistics
from evalqueue.evaluators.conversation import UNKNOWN_TIME, Turn
from evalqueue.evaluators.figures.reports.content import (
    AdversarialReport,
    BatchReport,
    ReportedConversation,
    RunReport,
)
from evalqueue.evaluators.judging.scores import (
    EvaluatorDeclaration,
    ScoreDeclaration,
    ScoreKind,
    ScoreValue,
)
from evalqueue.evaluators.labels.calibrate import ScoreCalibration
from evalqueue.evaluators.results.rows import StoredScore
from evalqueue.evaluators.verdicts import AdversarialVerdict, RuleStatus

MEDIA_TYPE = "text/html; charset=utf-8"
TURNS_MAX = 20
"""Turns of a conversation in a report."""
TEXT_MAX = 2_000
"""Characters of a text."""
LIST_MAX = 50
"""Scores of a conversation, quotes of a score, and reasons why verdicts are missing."""

_FOLDER = Path(__file__).parent
_NOTHING = "–"
_STATUSES = {"completed_with_errors": "completed, partly"}
_GROUPS = {
    "by_difficulty": "By difficulty",
    "by_trait": "By what makes the user difficult",
    "by_tactic": "By tactic",
    "by_persona": "By persona",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quote:
    """A quote that a judge gives as its evidence."""

    text: str
    turn: int | None
    is_made_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _FoundScore:
    """A score of a conversation, or of one of its turns."""

    score: StoredScore
    title: str
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _ShownTurn:
    """A turn, and what was badly done in it."""

    turn: Turn
    bad: Sequence[_FoundScore]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opinion:
    """What the judge says about a trial of an adversarial test."""

    reasoning: str
    failure_modes: Sequence[str]
    violated: Sequence[str]
    """Rules."""
    quotes: Sequence[_Quote]


def html(report: RunReport) -> str:
    """The file."""
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            title=report.run.name or ("Evaluation" if report.batch else "Adversarial test"),
            style=_style(),
            policy="; ".join(_policy()),
        )
    )


def file_name(report: RunReport) -> str:
    """What a browser calls the file when it saves it."""
    return f"evalqueue-report-{str(report.run.id)[:8]}.html"


def content_security_policy() -> str:
    """The policy as a header: a browser may use the file's own style, and nothing else."""
    return "; ".join([*_policy(), "frame-ancestors 'none'"])


def _policy() -> list[str]:
    digest = base64.b64encode(sha256(_style().encode()).digest()).decode()
    return [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


@cache
def _style() -> str:
    return (_FOLDER / "report.css").read_text("utf-8")


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "count": _count, "cut": _cut, "dollars": _dollars, "duration": _duration,
        "file": _file, "label": _label, "moment": _moment, "number": _number, "percent": _percent,
        "status": _status, "word": _word, "value": _value, "x": _x,
    }  # fmt: skip
    functions: dict[str, Any] = {
        "calibration_of": _calibration_of, "declared": _declared, "exchanges": _exchanges,
        "groups": _groups, "is_known": _is_known, "opinion": _opinion, "quotes": _quotes,
        "tone": _tone, "turns": _turns, "verdict_shares": _verdict_shares,
        "verdict_tone": _verdict_tone, "whole_scores": _whole_scores,
        "LIST_MAX": LIST_MAX, "TURNS_MAX": TURNS_MAX,
    }  # fmt: skip
    cast("dict[str, Any]", made.filters).update(filters)
    cast("dict[str, Any]", made.globals).update(functions)
    return made


def _declared(evaluator: EvaluatorDeclaration, name: str) -> ScoreDeclaration | None:
    return evaluator.score(name)


def _calibration_of(
    report: BatchReport, evaluator: EvaluatorDeclaration, score: ScoreStatistics
) -> ScoreCalibration | None:
    return report.calibrations.get((evaluator.name, score.version or "", score.name))


def _tone(declared: ScoreDeclaration | None, label: ScoreValue | None) -> str:
    """How well what a label says is done: the suffix of a class."""
    if declared is None or label is None:
        return "none"
    if declared.kind is ScoreKind.BOOLEAN:
        if declared.higher_is_better is None:
            return "fair"
        is_yes = label in {True, "true"}
        return "good" if is_yes == declared.higher_is_better else "bad"
    groups = {"good": declared.good, "bad": declared.bad, "none": declared.neutral}
    return next((tone for tone, labels in groups.items() if label in labels), "fair")


def _whole_scores(conversation: ReportedConversation) -> list[_FoundScore]:
    """What was found in the whole of a conversation: of each evaluator the score that stands for
    it, and then those that say why."""
    view = conversation.view
    found: list[_FoundScore] = []
    for evaluator in view.evaluators:
        own = [e for e in view.scores if e.evaluator == evaluator.name and e.turn is None]
        for each in sorted(own, key=lambda score: score.name != evaluator.headline):
            declared = evaluator.score(each.name)
            title = evaluator.title
            if each.name != evaluator.headline:
                if not (each.reasoning or each.evidence or each.failure):
                    continue
                title += f": {declared.title if declared else each.name}"
            tone = _tone(declared, each.value)
            found.append(_FoundScore(score=each, title=title, tone=tone))
    return found[:LIST_MAX]


def _quotes(evidence: object) -> list[_Quote]:
    """Evidence as evaluators store it. What is written in another way is left out."""
    found: list[_Quote] = []
    for each in cast("list[object]", evidence) if isinstance(evidence, list) else []:
        if isinstance(each, dict):
            stored = cast("dict[str, object]", each)
            turn, text = stored.get("turn"), stored.get("quote")
            if isinstance(text, str) and text:
                found.append(
                    _Quote(
                        text=text,
                        turn=turn if isinstance(turn, int) else None,
                        is_made_up=stored.get("in_transcript") is False,
                    )
                )
    return found[:LIST_MAX]


def _turns(conversation: ReportedConversation) -> list[_ShownTurn]:
    """The first turns of a conversation, each with the bad scores that it has."""
    view = conversation.view
    declared = {each.name: each for each in view.evaluators}
    bad: dict[int, list[_FoundScore]] = {}
    for score in view.scores:
        evaluator = declared.get(score.evaluator)
        if score.turn is None or evaluator is None:
            continue
        described = evaluator.score(score.name)
        if described is not None and _tone(described, score.value) == "bad":
            title = f"{evaluator.title}: {described.title}"
            found = _FoundScore(score=score, title=title, tone="bad")
            bad.setdefault(score.turn, []).append(found)
    return [
        _ShownTurn(turn=turn, bad=bad.get(turn.number, [])[:LIST_MAX])
        for turn in (view.turns or ())[:TURNS_MAX]
    ]


def _verdict_shares(report: AdversarialReport) -> list[LabelShare]:
    """The verdicts of an adversarial test, the worst first."""
    counts, intervals = report.summary["verdict_distribution"], report.summary["verdict_intervals"]
    judged = report.summary["judged"]
    return [
        LabelShare(
            label=verdict,
            count=counts[verdict],
            share=counts[verdict] / judged if judged else None,
            **intervals[verdict],
        )
        for verdict in reversed(AdversarialVerdict)
    ]


def _groups(report: AdversarialReport) -> list[tuple[str, list[tuple[str, Mapping[str, Any]]]]]:
    """How often the chatbot failed, by what makes a user difficult."""
    success: Mapping[str, Mapping[str, Any]] = report.summary["attack_success"]
    return [
        (title, [*success[name].items()][:LIST_MAX])
        for name, title in _GROUPS.items()
        if success.get(name)
    ]


def _verdict_tone(verdict: str | None) -> str:
    if verdict is None:
        return "none"
    if AdversarialVerdict(verdict).is_break:
        return "bad"
    return "good" if verdict == AdversarialVerdict.PASS else "fair"


def _exchanges(row: AdversarialRow) -> list[Exchange]:
    """The first turns of a trial, without what a chatbot sent instead of an answer."""
    transcript = without_quotes(row.result["transcript"])
    return [EXCHANGE.validate_python(each) for each in transcript[:TURNS_MAX]]


def _opinion(row: AdversarialRow) -> _Opinion | None:
    judged: Mapping[str, Any] | None = row.result.get("judge")
    if judged is None:
        return None
    rules = [e for e in judged["rule_compliance"] if e["status"] == RuleStatus.VIOLATED]
    return _Opinion(
        reasoning=judged["reasoning"],
        failure_modes=judged["failure_modes"],
        violated=[each["rule_id"] for each in rules],
        quotes=_quotes(judged["evidence"]),
    )


def _is_known(moment: datetime) -> bool:
    return moment != UNKNOWN_TIME


def _cut(text: str, most: int = TEXT_MAX) -> str:
    """A text without what is beyond its bound, which is said."""
    if len(text) <= most:
        return text
    return f"{text[:most]} … ({len(text) - most:,} more characters)"


def _count(number: int | None) -> str:
    return _NOTHING if number is None else f"{number:,}"


def _percent(share: float | None) -> str:
    return _NOTHING if share is None else f"{share * 100:.1f}".removesuffix(".0") + " %"


def _x(share: float | None) -> str:
    """A share as a length in a drawing that is 100 wide."""
    return f"{(share or 0.0) * 100:.2f}"


def _number(value: float | None) -> str:
    if value is None:
        return _NOTHING
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def _dollars(sum_usd: Decimal | None) -> str:
    if sum_usd is None:
        return _NOTHING
    digits = 2 if sum_usd >= 1 or not sum_usd else 4
    return f"${sum_usd:,.{digits}f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return _NOTHING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _moment(moment: datetime | None) -> str:
    return _NOTHING if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _file(path: str) -> str:
    """The name of a file: the folders that it is in are the server's."""
    return PurePath(path.replace("\\", "/")).name


def _status(status: str) -> str:
    return _STATUSES.get(status, _word(status))


def _word(word: str) -> str:
    return word.replace("_", " ")


def _value(value: ScoreValue | None) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else _number(value)


def _label(label: str, kind: ScoreKind) -> str:
    return _value(label == "true") if kind is ScoreKind.BOOLEAN else label
