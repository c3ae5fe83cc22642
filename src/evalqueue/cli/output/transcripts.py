"""Conversations of adversarial tests as text.

Messages of users and bots are hostile. They are printed as plain text and indented: only our own
lines begin in the first column, so that an answer of a bot can't look like a verdict.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from evalqueue.cli.output.console import print_data
from evalqueue.cli.output.text import block, one_line, print_facts
from evalqueue.cli.output.times import format_duration
from evalqueue.evaluators.adversarial.dialogue import EXCHANGE, Exchange
from evalqueue.evaluators.adversarial.findings import AdversarialRow, LiveRow
from evalqueue.evaluators.verdicts import RuleStatus


def print_transcript(row: AdversarialRow, others: Sequence[AdversarialRow] = ()) -> None:
    """Print the conversation of a trial, and the judge's opinion of it.

    Args:
        others: the case's other trials.
    """
    case = row.result["test_case"]
    facts = {
        "case": f"{row.case_id}, trial {row.trial}",
        "label": row.label,
        "user": row.persona
        if row.persona == row.difficulty
        else f"{row.persona}, {row.difficulty}",
        "traits": ", ".join(case["traits"]),
        "tactic": row.tactic,
        "goals": ", ".join(case["goals"]),
        "objective": case.get("objective"),
        "expected": case["expected_behavior"],
        "credential": row.credential,
        "also": ", ".join(f"trial {each.trial}: {_verdict(each.verdict)}" for each in others),
    }
    print_facts(facts)
    print_turns(row.result["transcript"])
    for line in _judged(row):
        print_data(line)


def print_live(row: LiveRow) -> None:
    """Print the conversation of a trial that has no verdict yet, as far as it has come."""
    state = "in progress" if row.is_live else "cut short"
    print_facts(
        {
            "case": f"{row.case_id}, trial {row.trial}",
            "credential": row.credential,
            "state": "ended, waiting for its verdict" if row.ended_at else state,
        }
    )
    print_turns(row.exchanges)


def print_turns(transcript: Iterable[Mapping[str, Any]]) -> None:
    """Print the turns of a transcript."""
    for each in transcript:
        for line in _turn(EXCHANGE.validate_python(each)):
            print_data(line)


def _turn(exchange: Exchange) -> Iterator[str]:
    message, reply = exchange.message, exchange.reply
    tactic = f", {message.tactic}" if message.tactic else ""
    yield f"\nTurn {exchange.number}"
    yield f"  user ({message.by}{tactic})"
    yield block(message.text)
    if message.sent != message.text:
        yield f"  sent as\n{block(message.sent)}"
    if reply is not None:
        details = [*reply.intents, format_duration(reply.duration_ms / 1000)]
        yield f"  bot ({', '.join(details)})\n{block(reply.shown)}"
    elif exchange.fault is not None and exchange.fault.partial:
        yield f"  bot (answer cut short)\n{block(exchange.fault.partial)}"
    for fact in exchange.facts():
        yield f"  ! {one_line(fact)}"
    if exchange.fault is not None and exchange.fault.quote:
        yield f"  sent instead of an answer\n{block(exchange.fault.quote)}"
    if reply is None and exchange.fault is None:
        yield "  ! no answer recorded: the conversation was cut short"


def _judged(row: AdversarialRow) -> Iterator[str]:
    """How a conversation ended, and the judge's opinion of it."""
    ending = row.result["facts"]["ending"]
    yield f"\nEnded      {row.stop_reason}: {one_line(ending.get('reason') or '')}"
    yield f"Verdict    {_verdict(row.verdict)}"
    if row.error is not None:
        yield block(row.error)
    judged = row.result["judge"]
    if judged is not None:
        yield block(judged["reasoning"])
        yield from _opinions(judged)
    for contradiction in row.result["derived"]["contradictions"]:
        yield f"Contradiction  {one_line(contradiction)}"


def _opinions(judged: Mapping[str, Any]) -> Iterator[str]:
    if judged["first_failing_turn"] is not None:
        yield f"First failed in turn {judged['first_failing_turn']}"
    if judged["failure_modes"]:
        yield f"Failure modes  {', '.join(judged['failure_modes'])}"
    for goal in judged["goal_verdicts"]:
        reached = "reached" if goal["achieved"] else "not reached"
        yield f"Goal {goal['goal_id']}: {reached}\n{block(goal['reasoning'])}"
    for rule in judged["rule_compliance"]:
        if rule["status"] == RuleStatus.VIOLATED:
            yield f"Rule {rule['rule_id']}: violated\n{block(rule.get('evidence') or '')}"
    for quote in judged["evidence"]:
        doubt = "" if quote["in_transcript"] else " (NOT in the transcript)"
        yield f"Evidence, turn {quote['turn']}{doubt}\n{block(quote['quote'])}"


def _verdict(verdict: str | None) -> str:
    return verdict or "none: not judged"
