"""The batch demo: the bundled conversations, evaluated, and the results as lines of text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalqueue.cli.demo.api import ApiClient
from evalqueue.cli.demo.judge import SIMULATED_WARNING, JudgeChoice
from evalqueue.cli.demo.next_steps import curl_command
from evalqueue.cli.demo.scenario import DemoScenario
from evalqueue.cli.output import console
from evalqueue.cli.output.times import format_duration

if TYPE_CHECKING:
    from rich.text import Text

_BAR_WIDTH = 32  # characters
_SHOWN_THREADS = 5
_ALARMING = ("CRITICAL", "BROKEN", "HARD FAIL")  # the worst first
_STYLES = {
    "PASS": "green", "EFFICIENT": "green", "ACCEPTABLE": "green",
    "SOFT FAIL": "yellow", "FRICTION": "yellow", "INCOMPLETE": "yellow",
    "HARD FAIL": "red", "CRITICAL": "bold red", "BROKEN": "bold red",
}  # fmt: skip


def findings(
    run: Mapping[str, Any], threads: Sequence[Mapping[str, Any]], judge: JudgeChoice
) -> Iterator["Text"]:
    """The results of a run, line by line, from its JSON."""
    from rich.text import Text

    from evalqueue.evaluators.verdicts import Correctness, Efficiency

    summary: Mapping[str, Any] = run["summary"] or {}
    yield Text()
    yield Text.assemble(
        (f"{len(threads)} of {run['total_items']} conversations evaluated", "bold"),
        f" in {format_duration(run['duration_seconds'] or 0)}, run {run['status']}",
    )
    if judge.is_simulated:
        yield Text(f"Judge: {SIMULATED_WARNING}", "bold magenta")
    else:
        yield Text(f"Judge: {run['llm_provider']}, {run['llm_model']}")
    yield Text()
    yield from distribution("Correctness, the worst answer of each conversation",
                             Correctness, [t["worst_correctness"] for t in threads])  # fmt: skip
    yield from distribution("Efficiency", Efficiency, [t["efficiency_verdict"] for t in threads])
    yield Text(f"Intent accuracy   {percent(summary.get('avg_intent_accuracy'))}")
    for name, coverage in summary.get("coverage", {}).items():
        judged, attempted = coverage["judged"], coverage["attempted"]
        yield Text(
            f"Coverage          {name}: {judged} of {attempted} judged "
            f"({percent(coverage.get('rate'))})"
        )
    failures: Mapping[str, int] = summary.get("failures", {})
    listed = ", ".join(f"{reason}: {times}" for reason, times in failures.items())
    yield Text(f"Not judged        {listed or 'nothing'}")
    yield from calls(summary)
    yield from _alarming(threads)


def calls(summary: Mapping[str, Any]) -> Iterator["Text"]:
    """The LLM calls of a run, counted."""
    from rich.text import Text

    yield Text(
        f"LLM calls         {_number(summary.get('llm_calls'))}, "
        f"{_number(summary.get('failed_llm_calls'))} of them failed and were retried"
    )
    yield Text(
        f"Tokens            {_number(summary.get('tokens_in'))} in, "
        f"{_number(summary.get('tokens_out'))} out"
    )


def distribution(
    title: str, verdicts: Iterable[str], found: Sequence[str | None]
) -> Iterator["Text"]:
    """How often each verdict was given, as bars."""
    from rich.text import Text

    yield Text(title, "bold")
    counts = {verdict: found.count(verdict) for verdict in verdicts}
    most = max(counts.values(), default=0) or 1
    for verdict, count in counts.items():
        bar = "█" * max(round(count / most * _BAR_WIDTH), int(count > 0))
        yield Text.assemble(
            f"  {verdict:<16}", (f"{bar} ", _STYLES.get(verdict, "dim")), str(count)
        )
    if missing := found.count(None):
        yield Text(f"  {'not measured':<16}{missing}")
    yield Text()


def _alarming(threads: Sequence[Mapping[str, Any]]) -> Iterator["Text"]:
    from rich.text import Text

    verdicts = ("worst_correctness", "efficiency_verdict")
    alarming = [
        (_ALARMING.index(found[0]), thread["thread_id"], found)
        for thread in threads
        if (found := [each for each in _ALARMING if each in [thread[name] for name in verdicts]])
    ]
    alarming.sort(key=lambda each: each[:2])
    if not alarming:
        return
    yield Text()
    yield Text("Look at these first", "bold")
    for _, thread_id, found in alarming[:_SHOWN_THREADS]:
        yield Text(f"  {console.printable(thread_id):<16}{', '.join(found)}")
    if (more := len(alarming) - _SHOWN_THREADS) > 0:
        yield Text(f"  … and {more} more")


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return "not measured" if share is None else f"{share:.1%}"


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


async def _print_results(api: ApiClient, run: Mapping[str, Any], judge: JudgeChoice) -> None:
    threads = await api.get(f"/api/eval-runs/{run['id']}/threads")
    output = console.rich_console()
    for line in findings(run, threads["evaluations"], judge):
        output.print(line)


BATCH = DemoScenario(
    introduction=(
        "Evaluating the bundled conversations with a simulated nutrition chatbot, Kaira.",
    ),
    job_type="evaluate-batch",
    params={"data_path": "kaira-conversations.csv", "app_id": "kaira-bot", "concurrency": 16},
    print_results=_print_results,
    next_steps=lambda evalqueue, api: [f"{evalqueue} up", curl_command(api), f"{evalqueue} status"],
)
"""The bundled conversations, evaluated."""
