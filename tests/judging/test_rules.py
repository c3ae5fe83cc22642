"""Rules: what the judge left out, invented or decorated."""

import pytest

from evalqueue.evaluators.apps import Rule
from evalqueue.evaluators.judging import rules
from evalqueue.evaluators.judging.rules import RuleFinding
from evalqueue.evaluators.verdicts import RuleStatus

RULES = [
    Rule(rule_id="ask_time", section="Time", text="Ask.", scopes=("efficiency",)),
    Rule(rule_id="show_chips", section="Chips", text="Show.", scopes=("correctness",)),
]


def finding(rule_id: str, status: RuleStatus = RuleStatus.FOLLOWED) -> RuleFinding:
    return RuleFinding(rule_id=rule_id, status=status, evidence="seen")


def test_a_rule_the_judge_left_out_is_not_evaluated() -> None:
    rows = rules.results(RULES, [finding("show_chips")])

    assert [(row["rule_id"], row["status"]) for row in rows] == [
        ("ask_time", "NOT_EVALUATED"),
        ("show_chips", "FOLLOWED"),
    ]
    assert rows[1]["section"] == "Chips"


def test_a_rule_that_was_never_offered_is_dropped() -> None:
    rows = rules.results(RULES, [finding("be_nice")])

    assert [row["rule_id"] for row in rows] == ["ask_time", "show_chips"]


def test_of_several_findings_the_weightiest_counts() -> None:
    found = [finding("ask_time"), finding("1. ask_time", RuleStatus.VIOLATED), finding("ask_time")]

    assert rules.results(RULES, found)[0]["status"] == "VIOLATED"


@pytest.mark.parametrize(
    "written", ["ask_time", "1. **ask_time**", "- `ask_time`", " 12) ask_time: ", "**ask_time**:"]
)
def test_an_id_is_read_without_the_formatting_of_a_list(written: str) -> None:
    assert rules.clean_id(written) == "ask_time"


def test_rules_are_listed_with_their_ids() -> None:
    assert "- ask_time [Time]: Ask." in rules.listed(RULES)
    assert "none" in rules.listed([])
