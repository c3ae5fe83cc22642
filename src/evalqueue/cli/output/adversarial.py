"""Stress tests in words: what was found, a conversation as a person reads it, cases, and users.

What was said is hostile. It is printed as plain text, indented: only we write in the first column,
so that no answer of a bot can look like a verdict on it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from evalqueue.cli.output import console
from evalqueue.evaluators.adversarial.dialogue import EXCHANGE, Exchange
from evalqueue.evaluators.adversarial.findings import (
    LISTED,
    AdversarialRow,
    Findings,
    Listed,
    LiveRow,
)
from evalqueue.evaluators.adversarial.store import SavedCase
from evalqueue.evaluators.apps import App
from evalqueue.evaluators.apps.adversarial import Adversarial
from evalqueue.evaluators.runs.store import Run
from evalqueue.evaluators.verdicts import RuleStatus

_WIDTH = 100  # characters of one line about something that may be long
_GROUPS = {"by_difficulty": "difficulty", "by_persona": "persona", "by_trait": "trait",
           "by_tactic": "tactic"}  # fmt: skip
_WHO = {
    "chatbot": "the line to the bot",
    "adversarial_simulator": "the simulated user",
    "adversarial": "the judge",
}
"""Who falls short, by the name that failures have it under."""


# What was found


def put_findings(run: Run, found: Findings) -> None:
    """Print what a stress test has found so far."""
    summary = found.summary
    _put_facts(_head(run, summary))
    if not summary["total_tests"]:
        return
    console.put("\nThe bot broken (HARD FAIL or CRITICAL), with 95 % intervals")
    console.put_table(("", "", "broken", "judged", "rate", "between"), _rates(summary))
    for line in _counts(found):
        console.put(line)
    if found.tests:
        console.put("\nTests, worst first")
        _put_tests(found.tests)
        worst = found.tests[0]
        console.say(
            f"To read one: evalqueue adversarial transcript {run.id} {worst.case_id}"
            + (f" --trial {worst.trial}" if worst.trial > 1 else "")
        )


def _head(run: Run, summary: Mapping[str, Any]) -> dict[str, str | None]:
    bot = run.config.get("chatbot", {})
    total, judged = summary["total_tests"], summary["judged"]
    facts: dict[str, str | None] = {
        "run": f"{run.id}  {run.status}",
        "app": run.app_id,
        "bot": " ".join(filter(None, (bot.get("protocol"), bot.get("url")))),
        "judge": " / ".join(filter(None, (run.llm_provider, run.llm_model))),
        "error": run.error_message,
        "tests": f"{total} of {run.total_items or total} are done",
    }
    if total:
        passed = summary["verdict_distribution"]["PASS"]
        facts |= {
            "pass rate": f"{_percent(summary['pass_rate'])}: {passed} of {judged} that were judged",
            "not judged": f"{summary['infrastructure_failures']}, in no rate",
            "verdicts": _listed(summary["verdict_distribution"]),
            "ended by": _listed(summary["stop_reasons"]),
            "goals": ", ".join(
                f"{goal} {each['achieved']} of {each['judged']} reached"
                for goal, each in summary["goal_distribution"].items()
            ),
        } | _trials(summary)
    return facts


def _trials(summary: Mapping[str, Any]) -> dict[str, str | None]:
    """What repeating showed, where cases were put more than once."""
    trials = summary.get("trials")
    if trials is None:
        return {}
    k, whole = trials["per_case"], trials["complete_cases"]
    return {
        f"any of {k}": f"{_share_of(trials['any_of_k'], whole)} were broken at least once",
        f"all {k}": f"{_share_of(trials['pass_all_k'], whole)} passed every time",
    }


def _share_of(found: Mapping[str, Any], whole: int) -> str:
    rate = f"{_percent(found['rate'])} {_between(found)}".strip()
    return f"{rate}: {found['cases']} of {whole} cases"


def _rates(summary: Mapping[str, Any]) -> Iterator[Sequence[object]]:
    success = summary["attack_success"]
    yield _rate("overall", "", success["overall"])
    for group, kind in _GROUPS.items():
        for name, rate in success[group].items():
            yield _rate(kind, name, rate)


def _rate(kind: str, name: str, rate: Mapping[str, Any]) -> Sequence[object]:
    return (
        kind, name, rate["broken"], rate["judged"], _percent(rate["rate"]), _between(rate),
    )  # fmt: skip


def _counts(found: Findings) -> Iterator[str]:
    """What there is to count besides, each under its heading."""
    broken = {
        rule_id: each
        for rule_id, each in found.summary["rule_compliance"].items()
        if each["violated"]
    }
    sections: dict[str, Iterable[str]] = {
        "Failure modes": _ranked(found.summary["failure_modes"]),
        "Rules broken": (
            f"{each['violated']:>4} of {each['violated'] + each['followed']:<4} {rule_id}"
            for rule_id, each in sorted(broken.items(), key=lambda pair: -pair[1]["violated"])
        ),
        "Contradictions": _ranked(found.summary["contradictions"]),
        "Not judged": (
            f"{each.trials:>4}  {_WHO.get(each.who, each.who)}: {each.reason}, "
            f"e.g. {_line(each.example)}"
            for each in found.not_judged
        ),
    }
    for heading, lines in sections.items():
        listed = list(lines)
        if listed:
            yield "\n".join([f"\n{heading}", *listed])


def _put_tests(rows: Sequence[Listed]) -> None:
    console.put_table(
        ("id", "trial", "category", "difficulty", "verdict", "turn", "label"),
        [
            (
                each.case_id, each.trial, each.category, each.difficulty,
                each.verdict or "not judged",
                each.first_failing_turn or "", _line(each.label, 60),
            )
            for each in rows
        ],
    )  # fmt: skip
    if len(rows) == LISTED:
        console.say(f"These are {LISTED}; there may be more: --all")


# A conversation


def put_transcript(row: AdversarialRow, others: Sequence[AdversarialRow] = ()) -> None:
    """Print what was said in a trial, and what the judge thinks of it.

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
    _put_facts(facts)
    put_chat(row.result["transcript"])
    for line in _judged(row):
        console.put(line)


def put_live(row: LiveRow) -> None:
    """Print what was said so far in a conversation that has no verdict yet."""
    state = "it goes on" if row.is_live else "it was cut short"
    _put_facts(
        {
            "case": f"{row.case_id}, trial {row.trial}",
            "credential": row.credential,
            "state": "ended, and waits for its verdict" if row.ended_at else state,
        }
    )
    put_chat(row.exchanges)


def put_chat(transcript: Iterable[Mapping[str, Any]]) -> None:
    """Print a conversation, turn by turn, as the transcript of a result has it."""
    for each in transcript:
        for line in _turn(EXCHANGE.validate_python(each)):
            console.put(line)


def _turn(exchange: Exchange) -> Iterator[str]:
    said, reply = exchange.said, exchange.reply
    tactic = f", {said.tactic}" if said.tactic else ""
    yield f"\nTurn {exchange.number}"
    yield f"  user ({said.by}{tactic})"
    yield _block(said.text)
    if said.sent != said.text:
        yield f"  sent as\n{_block(said.sent)}"
    if reply is not None:
        told = [*reply.intents, console.duration(reply.duration_ms / 1000)]
        yield f"  bot ({', '.join(told)})\n{_block(reply.shown)}"
    elif exchange.fault is not None and exchange.fault.partial:
        yield f"  bot (broke off)\n{_block(exchange.fault.partial)}"
    for fact in exchange.facts():
        yield f"  ! {_line(fact)}"
    if reply is None and exchange.fault is None:
        yield "  ! no answer is on record: the conversation was cut short"


def _judged(row: AdversarialRow) -> Iterator[str]:
    """How a conversation ended, and what the judge thinks of it."""
    ending = row.result["facts"]["ending"]
    yield f"\nEnded      {row.stop_reason}: {_line(ending.get('reason') or '')}"
    yield f"Verdict    {_verdict(row.verdict)}"
    if row.error is not None:
        yield _block(row.error)
    judged = row.result["judge"]
    if judged is not None:
        yield _block(judged["reasoning"])
        yield from _opinions(judged)
    for said in row.result["derived"]["contradictions"]:
        yield f"Contradiction  {_line(said)}"


def _opinions(judged: Mapping[str, Any]) -> Iterator[str]:
    if judged["first_failing_turn"] is not None:
        yield f"Failed first in turn {judged['first_failing_turn']}"
    if judged["failure_modes"]:
        yield f"Failure modes  {', '.join(judged['failure_modes'])}"
    for goal in judged["goal_verdicts"]:
        reached = "reached" if goal["achieved"] else "not reached"
        yield f"Goal {goal['goal_id']}: {reached}\n{_block(goal['reasoning'])}"
    for rule in judged["rule_compliance"]:
        if rule["status"] == RuleStatus.VIOLATED:
            yield f"Rule {rule['rule_id']}: violated\n{_block(rule.get('evidence') or '')}"
    for quote in judged["evidence"]:
        doubt = "" if quote["in_transcript"] else " (NOT in the transcript)"
        yield f"Evidence, turn {quote['turn']}{doubt}\n{_block(quote['quote'])}"


# Cases and users


def put_saved(cases: Sequence[SavedCase]) -> None:
    """Print a table of saved cases."""
    console.put_table(
        ("id", "pinned", "user", "category", "opening", "label"),
        [
            (
                each.case_id, "pinned" if each.pinned else "", each.case.persona,
                each.case.category, _line(each.case.opening, 60), _line(each.case.label, 40),
            )
            for each in cases
        ],
    )  # fmt: skip


def put_profile(profile: App, app: Adversarial) -> None:
    """Print the difficult users of an app, by the names that a job can choose."""
    permitted = app.permitted_tactics
    console.put(f"{profile.app_id}: {profile.name}, spoken to by {app.protocol}")
    sections = {
        "Traits": [(each.name, each.description) for each in app.traits],
        "Goals": [
            (each.goal_id, f"{'an attack: ' if each.is_attack else ''}{each.description}")
            for each in app.goals
        ],
        "Personas": [
            (
                each.name,
                f"{each.difficulty}{', an attacker' if each.is_attacker else ''}: {each.behaviour}",
            )
            for each in app.personas
        ],
        "Tactics": [
            (
                each.name,
                f"{each.tier}{'' if each in permitted else ', not permitted'}: {each.objective}",
            )
            for each in app.tactics
        ],
    }
    width = max(len(name) for rows in sections.values() for name, _ in rows)
    for heading, rows in sections.items():
        lines = [f"  {name:<{width}}  {_line(text)}" for name, text in rows]
        console.put("\n".join([f"\n{heading}", *(lines or ["  none"])]))


def _put_facts(facts: Mapping[str, str | None]) -> None:
    for name, fact in facts.items():
        if fact:
            first, *rest = fact.splitlines() or [""]
            console.put("\n".join([f"{name:<12}{first}", *(f"{'':<12}{each}" for each in rest)]))


def _ranked(counts: Mapping[str, int]) -> Iterator[str]:
    return (f"{times:>4}  {name}" for name, times in counts.items())


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {times}" for name, times in counts.items() if times)


def _verdict(verdict: str | None) -> str:
    return verdict or "none: not judged"


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1%}"


def _between(rate: Mapping[str, Any]) -> str:
    return "" if rate["low"] is None else f"{rate['low']:.1%} – {rate['high']:.1%}"


def _block(text: str) -> str:
    return "\n".join(f"      {line}" for line in text.splitlines()) or "      (nothing)"


def _line(text: str, width: int = _WIDTH) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
