"""The adversarial demo: difficult users talk to a simulated chatbot whose weaknesses are known.

Some weaknesses of the bundled chatbot are switched on, so that the results can be compared with
them. The chatbot is simulated even where a real LLM plays the users and judges.
"""

import json
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalqueue.cli.demo.api import ApiClient
from evalqueue.cli.demo.judge import JudgeChoice
from evalqueue.cli.demo.next_steps import curl_command
from evalqueue.cli.demo.scenario import DemoScenario
from evalqueue.cli.output import console
from evalqueue.cli.output.runs import calls, distribution, percent
from evalqueue.cli.output.times import format_duration
from evalqueue.cli.output.transcripts import print_turns

if TYPE_CHECKING:
    from rich.text import Text

WEAK = (
    "accepts_future_times", "merges_meals", "forgets_corrections", "deflects_questions",
    "leaks_prompt",
)  # fmt: skip
"""The weaknesses of the demo's chatbot."""

CASES = 36
"""Each trait at each difficulty, and each of the attacker's tactics."""

_GROUPS = {
    "by_trait": "by what makes the user difficult",
    "by_tactic": "by the attacker's tactic",
    "by_difficulty": "by difficulty",
}
_CREDENTIALS = ("demo-user-1", "demo-user-2")
_CHATBOT_LATENCY_MS = 100
_INTERVAL_WIDTH = 25  # characters, so that there is one in the middle
_PAGE = 200


def scenario() -> DemoScenario:
    """The demo; the chatbot's tokens are random."""
    return DemoScenario(
        job_type="evaluate-adversarial",
        params={
            "app_id": "kaira-bot",
            "test_count": CASES,
            "personas": ["easy", "medium", "hard", "moriarty"],
            "chatbot": {"protocol": "kaira_v2", "credentials": list(_CREDENTIALS)},
            "turn_delay_seconds": 0,
            "concurrency": 16,
        },
        print_results=_print_results,
        next_steps=_next_steps,
        chatbot=(f"--latency-ms={_CHATBOT_LATENCY_MS}", *(f"--weakness={each}" for each in WEAK)),
        environment={"EVALQUEUE_CHATBOT_CREDENTIALS": json.dumps(_credentials())},
        introduction=(
            f"Chatbot: simulated, with weaknesses switched on: {', '.join(WEAK)}",
            f"{CASES} difficult users talk to it, {len(_CREDENTIALS)} at a time "
            "(one for each credential).",
        ),
    )


def findings(
    run: Mapping[str, Any], tests: Sequence[Mapping[str, Any]], judge: JudgeChoice
) -> Iterator["Text"]:
    """The results of a run of the demo, line by line, from its JSON."""
    from rich.text import Text

    from evalqueue.evaluators.verdicts import AdversarialVerdict

    styles = dict(
        zip(map(str, AdversarialVerdict), ("green", "yellow", "red", "bold red"), strict=True)
    )
    summary: Mapping[str, Any] = run["summary"] or {}
    yield Text()
    yield Text.assemble(
        (f"{len(tests)} of {run['total_items']} conversations held", "bold"),
        f" in {format_duration(run['duration_seconds'] or 0)}, run {run['status']}",
    )
    yield Text("Chatbot: simulated, with the protocol of the Kaira API v2", "bold magenta")
    if judge.is_simulated:
        yield Text(f"Users and judge: {judge}", "bold magenta")
    else:
        yield Text(f"Users and judge: {run['llm_provider']}, {run['llm_model']}")
    yield Text()
    yield from weaknesses(tests)
    yield Text()
    verdicts = Counter(test["verdict"] for test in tests)
    yield from distribution("Verdicts", styles, verdicts, verdicts[None])
    yield from _rates(summary)
    yield from calls(summary)


def weaknesses(tests: Sequence[Mapping[str, Any]]) -> Iterator["Text"]:
    """The chatbot's weaknesses, and whether the judge found each of them."""
    from rich.text import Text

    from evalqueue.evaluators.simulated.chatbot.bot import RULE_OF, Weakness

    reported = Counter(rule for test in tests for rule in violated(test))
    width = max(map(len, RULE_OF.values()))
    yield Text(
        "Weaknesses of the chatbot, the rule that each breaks, and what the judge reported", "bold"
    )
    for name in WEAK:
        rule = RULE_OF[Weakness(name)]
        found = reported[rule]
        mark = (f"found in {found}", "green") if found else ("missed", "bold red")
        yield Text.assemble(f"  on   {name:<22}{rule:<{width}}  ", mark)
    off = [each for each in Weakness if each not in WEAK]
    alarms = [each for each in off if reported[RULE_OF[each]]]
    for each in alarms:
        rule = RULE_OF[each]
        mark = (f"false alarm in {reported[rule]}", "bold red")
        yield Text.assemble(f"  off  {each:<22}{rule:<{width}}  ", mark)
    yield Text.assemble(
        f"  off  {len(off) - len(alarms)}{' others' if alarms else ' more'}: ",
        ("none reported", "green"),
    )


def violated(test: Mapping[str, Any]) -> list[str]:
    """The rules that the chatbot broke in a case, according to the judge."""
    judge: Mapping[str, Any] = test["result"]["judge"] or {"rule_compliance": []}
    return [each["rule_id"] for each in judge["rule_compliance"] if each["status"] == "VIOLATED"]


def _rates(summary: Mapping[str, Any]) -> Iterator["Text"]:
    from rich.text import Text

    success: Mapping[str, Any] = summary.get("attack_success", {})
    yield Text("How often the chatbot failed (HARD FAIL or CRITICAL), with 95 % intervals", "bold")
    for group, title in _GROUPS.items():
        rates: Mapping[str, Any] = success.get(group, {})
        yield Text(f"  {title}", "dim")
        for name in sorted(rates, key=lambda name: (-(rates[name]["rate"] or 0), name)):
            yield _rate(name, rates[name])
    yield Text()
    judged, total = summary.get("judged", 0), summary.get("total_tests", 0)
    yield Text(
        f"Pass rate         {percent(summary.get('pass_rate'))} of {judged} judged conversations"
    )
    reasons: Mapping[str, int] = summary.get("failures", {})
    listed = ", ".join(f"{reason} {times}" for reason, times in reasons.items())
    excluded = f"{total - judged}, excluded from every rate"
    yield Text(f"Not judged        {excluded}{f': {listed}' if listed else ''}")
    modes: Mapping[str, int] = summary.get("failure_modes", {})
    listed = ", ".join(f"{mode} {times}" for mode, times in modes.items())
    yield Text(f"Failure modes     {listed or 'none'}")


def _rate(name: str, rate: Mapping[str, Any]) -> "Text":
    from rich.text import Text

    shown = f"{rate['broken']} of {rate['judged']}"
    return Text.assemble(
        f"    {console.printable(name):<28}", (interval(rate), "cyan"), f"  {shown:>8}"
    )


def interval(rate: Mapping[str, Any]) -> str:
    """A rate and its confidence interval, drawn on a line from 0 to 1."""
    if rate["rate"] is None:
        return f"{'not measured':<{_INTERVAL_WIDTH}}"
    low, high, point = (
        round(rate[each] * (_INTERVAL_WIDTH - 1)) for each in ("low", "high", "rate")
    )
    drawn = ["·"] * _INTERVAL_WIDTH
    drawn[low : high + 1] = "─" * (high + 1 - low)
    drawn[point] = "●"
    return "".join(drawn)


def _example(tests: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The shortest conversation in which the chatbot failed, if possible one of several turns."""
    failed = [test for test in tests if test["verdict"] in {"HARD FAIL", "CRITICAL"}]

    def weight(test: Mapping[str, Any]) -> tuple[bool, int]:
        return test["total_turns"] == 1, len(str(test["result"]["transcript"]))

    return min(failed, key=weight, default=None)


async def _print_results(api: ApiClient, run: Mapping[str, Any], judge: JudgeChoice) -> None:
    page = await api.get(f"/api/eval-runs/{run['id']}/adversarial?limit={_PAGE}")
    tests = page["evaluations"]
    output = console.rich_console()
    for line in findings(run, tests, judge):
        output.print(line)
    example = _example(tests)
    if example is not None:
        about = f"{example['category']}, {example['difficulty']}: {example['verdict']}"
        console.print_data(f"\nA conversation in which the chatbot failed: {about}")
        print_turns(example["result"]["transcript"])
        console.print_data(f"\nThe judge: {example['result']['judge']['reasoning']}")


def _next_steps(evalqueue: str, api: str) -> Iterator[str]:
    credential = {"me": {"user_id": "me", "token": "any", "host": "localhost"}}
    yield f"EVALQUEUE_CHATBOT_CREDENTIALS='{json.dumps(credential)}' {evalqueue} up"
    yield f"{evalqueue} simulate-bot --weakness merges_meals &    # or your own chatbot"
    yield curl_command(
        api,
        "evaluate-adversarial",
        chatbot={"url": "http://127.0.0.1:8723", "credentials": ["me"]},
    )
    yield f"{evalqueue} adversarial show RUN_ID"


def _credentials() -> dict[str, dict[str, str]]:
    return {
        name: {
            "user_id": name,
            "token": secrets.token_urlsafe(),
            "host": "localhost",
        }
        for name in _CREDENTIALS
    }
