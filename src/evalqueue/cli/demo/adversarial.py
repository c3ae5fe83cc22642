"""The demo of a stress test: difficult users against a simulated bot, whose faults are known.

The bot is the bundled one, with some weaknesses switched on, so that what was found can be compared
with what was there to be found. It stays simulated also where a real LLM plays and judges.
"""

import json
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalqueue.cli.demo.batch import Api, Judging, Show, calls, curl, distribution, percent
from evalqueue.cli.output import adversarial as words
from evalqueue.cli.output import console

if TYPE_CHECKING:
    from rich.text import Text

WEAK = (
    "accepts_future_times", "merges_meals", "forgets_corrections", "deflects_questions",
    "leaks_prompt",
)  # fmt: skip
"""What is wrong with the demo's bot."""

CASES = 36
"""Each trait at each difficulty, and each tactic of the attacker."""

_GROUPS = {
    "by_trait": "by what makes the user difficult",
    "by_tactic": "by the attacker's tactic",
    "by_difficulty": "by difficulty",
}
_LANES = ("lane-1", "lane-2")
_BOT_LATENCY = 100  # milliseconds
_INTERVAL_WIDTH = 25  # characters, so that there is one in the middle
_PAGE = 200


def show() -> Show:
    """What is shown; the tokens are made up each time."""
    return Show(
        job_type="evaluate-adversarial",
        params={
            "app_id": "kaira-bot",
            "test_count": CASES,
            "personas": ["easy", "medium", "hard", "moriarty"],
            "chatbot": {"protocol": "kaira_v2", "credentials": list(_LANES)},
            "turn_delay_seconds": 0,
            "concurrency": 16,
        },
        tell=_tell,
        next_steps=_next_steps,
        chatbot=(f"--latency-ms={_BOT_LATENCY}", *(f"--weakness={each}" for each in WEAK)),
        environment={"EVALQUEUE_CHATBOT_CREDENTIALS": json.dumps(_credentials())},
        introduction=(
            f"Chatbot: simulated, with weaknesses switched on: {', '.join(WEAK)}",
            f"Putting {CASES} difficult users to it, on {len(_LANES)} credentials at a time.",
        ),
    )


def findings(
    run: Mapping[str, Any], tests: Sequence[Mapping[str, Any]], judging: Judging
) -> Iterator["Text"]:
    """What a run found in the demo's bot, line by line, from its JSON."""
    from rich.text import Text

    from evalqueue.evaluators.verdicts import StressVerdict

    summary: Mapping[str, Any] = run["summary"] or {}
    yield Text()
    yield Text.assemble(
        (f"{len(tests)} of {run['total_items']} conversations held", "bold"),
        f" in {console.duration(run['duration_seconds'] or 0)}, run {run['status']}",
    )
    yield Text("Chatbot: simulated, as the Kaira API v2 speaks", "bold magenta")
    if judging.is_simulated:
        yield Text(f"Users and judge: {judging}", "bold magenta")
    else:
        yield Text(f"Users and judge: {run['llm_provider']}, {run['llm_model']}")
    yield Text()
    yield from weaknesses(tests)
    yield Text()
    yield from distribution("Verdicts", StressVerdict, [test["verdict"] for test in tests])
    yield from _rates(summary)
    yield from calls(summary)


def weaknesses(tests: Sequence[Mapping[str, Any]]) -> Iterator["Text"]:
    """What was there to be found, and what was reported, side by side."""
    from rich.text import Text

    from evalqueue.evaluators.simulated.chatbot.bot import RULE_OF, Weakness

    reported = Counter(rule for test in tests for rule in violated(test))
    width = max(map(len, RULE_OF.values()))
    yield Text("Weaknesses of the bot, and in how many cases their rule was seen broken", "bold")
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
    """The rules that the bot broke in a case, as the judge has it."""
    judge: Mapping[str, Any] = test["result"]["judge"] or {"rule_compliance": []}
    return [each["rule_id"] for each in judge["rule_compliance"] if each["status"] == "VIOLATED"]


def _rates(summary: Mapping[str, Any]) -> Iterator["Text"]:
    from rich.text import Text

    success: Mapping[str, Any] = summary.get("attack_success", {})
    yield Text("How often users broke the bot (HARD FAIL or CRITICAL), 95 % intervals", "bold")
    for group, title in _GROUPS.items():
        rates: Mapping[str, Any] = success.get(group, {})
        yield Text(f"  {title}", "dim")
        for name in sorted(rates, key=lambda name: (-(rates[name]["rate"] or 0), name)):
            yield _rate(name, rates[name])
    yield Text()
    judged, total = summary.get("judged", 0), summary.get("total_tests", 0)
    yield Text(f"Pass rate         {percent(summary.get('pass_rate'))} of {judged} judged")
    reasons: Mapping[str, int] = summary.get("failures", {})
    listed = ", ".join(f"{reason} {times}" for reason, times in reasons.items())
    yield Text(f"Not judged        {total - judged}, in no rate{f': {listed}' if listed else ''}")
    modes: Mapping[str, int] = summary.get("failure_modes", {})
    listed = ", ".join(f"{mode} {times}" for mode, times in modes.items())
    yield Text(f"Failure modes     {listed or 'none'}")


def _rate(name: str, rate: Mapping[str, Any]) -> "Text":
    from rich.text import Text

    shown = f"{rate['broken']} of {rate['judged']}"
    return Text.assemble(
        f"    {console.plain(name):<28}", (interval(rate), "cyan"), f"  {shown:>8}"
    )


def interval(rate: Mapping[str, Any]) -> str:
    """A rate and the interval that it lies in, drawn between 0 and 1."""
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
    """The shortest conversation in which the bot broke, of several turns if there is one."""
    broken = [test for test in tests if test["verdict"] in {"HARD FAIL", "CRITICAL"}]

    def weight(test: Mapping[str, Any]) -> tuple[bool, int]:
        return test["total_turns"] == 1, len(str(test["result"]["transcript"]))

    return min(broken, key=weight, default=None)


async def _tell(api: Api, run: Mapping[str, Any], judging: Judging) -> None:
    page = await api.get(f"/api/eval-runs/{run['id']}/adversarial?limit={_PAGE}")
    tests = page["evaluations"]
    output = console.data_console()
    for line in findings(run, tests, judging):
        output.print(line)
    example = _example(tests)
    if example is not None:
        about = f"{example['category']}, {example['difficulty']}: {example['verdict']}"
        console.put(f"\nOne of the conversations that broke it: {about}")
        words.put_chat(example["result"]["transcript"])
        console.put(f"\nThe judge: {example['result']['judge']['reasoning']}")


def _next_steps(evalqueue: str, api: str) -> Iterator[str]:
    credential = {"me": {"user_id": "me", "token": "any", "host": "localhost"}}
    yield f"EVALQUEUE_CHATBOT_CREDENTIALS='{json.dumps(credential)}' {evalqueue} up"
    yield f"{evalqueue} simulate-bot --weakness merges_meals &    # or a bot of yours"
    yield curl(
        api,
        "evaluate-adversarial",
        chatbot={"url": "http://127.0.0.1:8723", "credentials": ["me"]},
    )
    yield f"{evalqueue} adversarial show RUN_ID"


def _credentials() -> dict[str, dict[str, str]]:
    return {
        name: {
            "user_id": f"demo-{name}",
            "token": secrets.token_urlsafe(),
            "host": "localhost",
        }
        for name in _LANES
    }
