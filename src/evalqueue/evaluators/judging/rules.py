"""Rules: how they are shown to a judge, and what is made of its answers.

A rule that the judge left out is NOT_EVALUATED, which is not the same as followed; an id that was
never offered is dropped. Judges copy the formatting of a list ("1. **id**"), so ids are cleaned.
"""

import re
import string
from collections.abc import Iterable, Sequence
from typing import Annotated, TypedDict

from pydantic import Field

from evalqueue.evaluators.apps import Rule
from evalqueue.evaluators.judging.answers import Answer, Menu
from evalqueue.evaluators.verdicts import RuleStatus

RULES_MENU = "rules"
_LIST_MARK = re.compile(r"(?:\d+[.)]|[-*•])\s*")
_EMPHASIS = "*_`"

_PRIORITY = (
    RuleStatus.VIOLATED,
    RuleStatus.FOLLOWED,
    RuleStatus.NOT_APPLICABLE,
    RuleStatus.NOT_EVALUATED,
)


class RuleFinding(Answer):
    """What the judge says about one rule."""

    rule_id: Annotated[str, Menu(RULES_MENU, enforced=False)]
    evidence: Annotated[str, Field(description="what shows it, in one sentence")]
    status: RuleStatus


class RuleResult(TypedDict):
    """What became of one rule, as it is stored."""

    rule_id: str
    section: str
    status: str
    """A `RuleStatus`."""
    evidence: str


def listed(rules: Iterable[Rule]) -> str:
    """The rules as a judge reads them."""
    lines = [f"- {rule.rule_id} [{rule.section}]: {rule.text}" for rule in rules]
    return "\n".join(lines) or "(none: rule_compliance is empty)"


def rule_ids(rules: Iterable[Rule]) -> tuple[str, ...]:
    return tuple(rule.rule_id for rule in rules)


def results(rules: Sequence[Rule], findings: Iterable[RuleFinding]) -> list[RuleResult]:
    """One for every rule, in the rules' order; of several findings the most severe counts."""
    found: dict[str, RuleFinding] = {}
    for finding in findings:
        rule_id = clean_id(finding.rule_id)
        known = found.get(rule_id)
        if known is None or _PRIORITY.index(finding.status) < _PRIORITY.index(known.status):
            found[rule_id] = finding
    return [_result(rule, found.get(rule.rule_id)) for rule in rules]


def merged(several: Sequence[Sequence[RuleResult]]) -> list[RuleResult]:
    """The results of several questions about the same rules: of each rule the most severe one."""
    return [
        min(found, key=lambda each: _PRIORITY.index(RuleStatus(each["status"])))
        for found in zip(*several, strict=True)
    ]


def clean_id(written: str) -> str:
    """A rule's id without the list formatting around it."""
    text = written.strip()
    mark = _LIST_MARK.match(text)
    text = text[mark.end() :] if mark else text
    return text.lstrip(_EMPHASIS).rstrip(f"{_EMPHASIS}:{string.whitespace}")


def _result(rule: Rule, finding: RuleFinding | None) -> RuleResult:
    return {
        "rule_id": rule.rule_id,
        "section": rule.section,
        "status": (finding.status if finding else RuleStatus.NOT_EVALUATED).value,
        "evidence": finding.evidence if finding else "",
    }
