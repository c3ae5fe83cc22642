"""The results of an adversarial test, its saved cases, and the users of an app, as text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from evalqueue.cli.output.console import print_data, print_message, print_table
from evalqueue.cli.output.text import one_line, print_facts
from evalqueue.evaluators.adversarial.findings import LISTED, Findings, TrialSummary
from evalqueue.evaluators.adversarial.saved_cases import SavedCase
from evalqueue.evaluators.apps import App
from evalqueue.evaluators.apps.difficult_users import DifficultUsers
from evalqueue.evaluators.runs.reading import Run

_GROUPS = {"by_difficulty": "difficulty", "by_persona": "persona", "by_trait": "trait",
           "by_tactic": "tactic"}  # fmt: skip
_SOURCES = {
    "chatbot": "the connection to the chatbot",
    "adversarial_simulator": "the simulated user",
    "adversarial": "the judge",
}
"""What failed, by its name in failures."""


def print_findings(run: Run, found: Findings) -> None:
    """Print the results of an adversarial test so far."""
    summary = found.summary
    print_facts(_head(run, summary))
    if not summary["total_tests"]:
        return
    print_data("\nHow often the chatbot failed (HARD FAIL or CRITICAL), with 95 % intervals")
    print_table(("", "", "failed", "judged", "rate", "95 % interval"), _rates(summary))
    for line in _counts(found):
        print_data(line)
    if found.tests:
        print_data("\nTests, worst first")
        _print_tests(found.tests)
        worst = found.tests[0]
        print_message(
            f"To read one: evalqueue adversarial transcript {run.id} {worst.case_id}"
            + (f" --trial {worst.trial}" if worst.trial > 1 else "")
        )


def _head(run: Run, summary: Mapping[str, Any]) -> dict[str, str | None]:
    bot = run.config.get("chatbot", {})
    total, judged = summary["total_tests"], summary["judged"]
    facts: dict[str, str | None] = {
        "run": f"{run.id}  {run.status}",
        "app": run.app_id,
        "chatbot": " ".join(filter(None, (bot.get("protocol"), bot.get("url")))),
        "judge": " / ".join(filter(None, (run.llm_provider, run.llm_model))),
        "error": run.error_message,
        "tests": f"{total} of {run.total_items or total} done",
    }
    if total:
        passed = summary["verdict_distribution"]["PASS"]
        facts |= {
            "pass rate": f"{_percent(summary['pass_rate'])}: {passed} of {judged} judged tests",
            "not judged": f"{summary['infrastructure_failures']}, excluded from every rate",
            "verdicts": _listed(summary["verdict_distribution"]),
            "ended by": _listed(summary["stop_reasons"]),
            "goals": ", ".join(
                f"{goal} {each['achieved']} of {each['judged']} reached"
                for goal, each in summary["goal_distribution"].items()
            ),
        } | _trials(summary)
    return facts


def _trials(summary: Mapping[str, Any]) -> dict[str, str | None]:
    """The rates over repeated trials, if cases have more than one."""
    trials = summary.get("trials")
    if trials is None:
        return {}
    k, whole = trials["per_case"], trials["complete_cases"]
    return {
        f"any of {k}": f"{_share_of(trials['any_of_k'], whole)} failed at least once",
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
    """Further counts, each under its heading."""
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
            f"{each.trials:>4}  {_SOURCES.get(each.who, each.who)}: {each.reason}, "
            f"e.g. {one_line(each.example)}"
            for each in found.not_judged
        ),
    }
    for heading, lines in sections.items():
        listed = list(lines)
        if listed:
            yield "\n".join([f"\n{heading}", *listed])


def _print_tests(rows: Sequence[TrialSummary]) -> None:
    print_table(
        ("id", "trial", "category", "difficulty", "verdict", "turn", "label"),
        [
            (
                each.case_id, each.trial, each.category, each.difficulty,
                each.verdict or "not judged",
                each.first_failing_turn or "", one_line(each.label, 60),
            )
            for each in rows
        ],
    )  # fmt: skip
    if len(rows) == LISTED:
        print_message(f"The first {LISTED}; --all lists every test.")


def print_saved_cases(cases: Sequence[SavedCase]) -> None:
    """Print a table of saved cases."""
    print_table(
        ("id", "pinned", "user", "category", "opening", "label"),
        [
            (
                each.case_id, "pinned" if each.pinned else "", each.case.persona,
                each.case.category, one_line(each.case.opening, 60), one_line(each.case.label, 40),
            )
            for each in cases
        ],
    )  # fmt: skip


def print_app(app: App, adversarial: DifficultUsers) -> None:
    """Print the traits, goals, personas and tactics of an app."""
    permitted = adversarial.permitted_tactics
    print_data(f"{app.app_id}: {app.name}, protocol {adversarial.protocol}")
    sections = {
        "Traits": [(each.name, each.description) for each in adversarial.traits],
        "Goals": [
            (each.goal_id, f"{'an attack: ' if each.is_attack else ''}{each.description}")
            for each in adversarial.goals
        ],
        "Personas": [
            (
                each.name,
                f"{each.difficulty}{', an attacker' if each.is_attacker else ''}: {each.behaviour}",
            )
            for each in adversarial.personas
        ],
        "Tactics": [
            (
                each.name,
                f"{each.tier}{'' if each in permitted else ', not permitted'}: {each.objective}",
            )
            for each in adversarial.tactics
        ],
    }
    width = max(len(name) for rows in sections.values() for name, _ in rows)
    for heading, rows in sections.items():
        lines = [f"  {name:<{width}}  {one_line(text)}" for name, text in rows]
        print_data("\n".join([f"\n{heading}", *(lines or ["  none"])]))


def _ranked(counts: Mapping[str, int]) -> Iterator[str]:
    return (f"{times:>4}  {name}" for name, times in counts.items())


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {times}" for name, times in counts.items() if times)


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1%}"


def _between(rate: Mapping[str, Any]) -> str:
    return "" if rate["low"] is None else f"{rate['low']:.1%} – {rate['high']:.1%}"
